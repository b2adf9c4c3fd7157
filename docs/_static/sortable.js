// Tables of class "sortable": a click on a heading sorts by it, a second one the other way round.
(() => {
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    // a mean counts, not the spread behind it; what is no number goes last
    const number = parseFloat(text.replace("−", "-").replace(/,/g, ""));
    return { text, number };
  };
  const compare = (a, b) => {
    if (Number.isNaN(a.number) || Number.isNaN(b.number)) {
      if (!Number.isNaN(a.number)) return -1;
      if (!Number.isNaN(b.number)) return 1;
      return a.text.localeCompare(b.text);
    }
    return a.number - b.number;
  };
  const sort = (table, column, heading) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => compare(value(a, column), value(b, column)));
    body.append(...(down ? rows.reverse() : rows));
  };
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("table.sortable").forEach((table) => {
      [...table.tHead.rows[0].cells].forEach((heading, column) => {
        heading.setAttribute("aria-sort", "none");
        const button = document.createElement("button");
        button.type = "button";
        button.title = "Sort by this column";
        button.append(...heading.childNodes);
        heading.append(button);
        button.addEventListener("click", () => sort(table, column, heading));
      });
    });
  });
})();
