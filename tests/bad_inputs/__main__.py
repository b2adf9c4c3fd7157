"""Write the page of the guide."""

from .page import PATH, render

PATH.write_text(render(), encoding="utf-8")
print(f"wrote {PATH}")
