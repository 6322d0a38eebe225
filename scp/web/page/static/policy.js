// A fault's line is selected in the editor where it is named.
"use strict";
(() => {
  const text = document.getElementById("text");
  if (!text) return;
  for (const link of document.querySelectorAll("a[data-line]")) {
    link.addEventListener("click", () => {
      const lines = text.value.split("\n");
      const line = Number(link.dataset.line) - 1;
      const begin = lines.slice(0, line).reduce((sum, one) => sum + one.length + 1, 0);
      text.focus();
      text.setSelectionRange(begin, begin + (lines[line] || "").length);
      text.scrollTop = (text.scrollHeight * line) / lines.length - text.clientHeight / 2;
    });
  }
})();
