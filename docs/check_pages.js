// What check_pages.py asks of a page that is open.
({
  layout: async () => {
    const images = [...document.images];
    images.forEach((image) => { image.loading = "eager"; });
    await Promise.all(images.map((image) => image.decode().catch(() => null)));
    const missing = images.filter((image) => !image.naturalWidth).map((image) => image.src.slice(0, 120));
    const root = document.documentElement;
    const wide = root.scrollWidth > root.clientWidth + 1;
    let culprit = "";
    if (wide) {
      const inside = (node) => { for (let up = node.parentElement; up && up !== document.body; up = up.parentElement) {
        if (getComputedStyle(up).overflowX !== "visible") return true; } return false; };
      const found = [...document.body.querySelectorAll("*")].find(
        (node) => node.getBoundingClientRect().right > root.clientWidth + 1 && !inside(node));
      culprit = found ? `${found.tagName}.${found.className}` : "?";
    }
    return { missing, wide, culprit };
  },

  contrast: () => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    canvas.canvas.width = canvas.canvas.height = 1;
    const known = new Map();
    const parse = (colour) => {
      if (!known.has(colour)) {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        known.set(colour, [r, g, b, a / 255]);
      }
      return known.get(colour);
    };
    const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
    const luminance = (c) => {
      const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (node) => {
      const layers = [];
      for (let up = node; up; up = up.parentElement) {
        const colour = parse(getComputedStyle(up).backgroundColor);
        if (colour[3] > 0) layers.push(colour);
        if (colour[3] === 1) break;
      }
      const sheet = getComputedStyle(document.documentElement).colorScheme.includes("dark") ? [18, 18, 18, 1] : [255, 255, 255, 1];
      return layers.reverse().reduce((below, top) => over(top, below), sheet);
    };
    const found = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode.parentElement;
      if (!walker.currentNode.textContent.trim() || !node.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
      if (node.closest("script, style, noscript, [aria-hidden=true], :disabled")) continue;
      const box = node.getBoundingClientRect();
      if (box.width < 2 || box.height < 2) continue;
      const style = getComputedStyle(node);
      const below = ground(node);
      let [r, g, b, strength] = parse(style.color);
      for (let up = node; up; up = up.parentElement) strength *= parseFloat(getComputedStyle(up).opacity);
      const [light, dark] = [luminance(over([r, g, b, strength], below)), luminance(below)].sort((a, b) => b - a);
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
      const ratio = (light + 0.05) / (dark + 0.05);
      if (ratio < (large ? 3 : 4.5)) {
        const key = `${node.tagName.toLowerCase()}.${node.className}`.slice(0, 80);
        found.set(key, `${ratio.toFixed(2)} "${walker.currentNode.textContent.trim().slice(0, 30)}" ${key}`);
      }
    }
    return [...found.values()];
  },
})
