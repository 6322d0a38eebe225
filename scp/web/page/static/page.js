// What the page does beside htmx: pause what changes by itself, and draw charts from their tables.
"use strict";
(() => {
  let paused = false;

  function watchPause() {
    const button = document.getElementById("pause");
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", () => {
      paused = !paused;
      button.setAttribute("aria-pressed", String(paused));
    });
    document.body.addEventListener("htmx:sseBeforeMessage", (event) => {
      if (paused) event.preventDefault();
    });
    document.body.addEventListener("htmx:beforeRequest", (event) => {
      const trigger = event.detail.elt.getAttribute("hx-trigger") || "";
      if (paused && trigger.startsWith("every")) event.preventDefault();
    });
  }

  // Decimal units, as the server writes them (scp/web/wording.py).
  function size(value) {
    for (const unit of ["B", "kB", "MB", "GB"]) {
      if (Math.abs(value) < 1000) return `${Number(value.toFixed(1))} ${unit}`;
      value /= 1000;
    }
    return `${Number(value.toFixed(1))} TB`;
  }

  function written(unit) {
    if (unit.startsWith("bytes")) return (value) => (value == null ? "" : size(value) + unit.slice(5));
    return (value) => (value == null ? "" : value.toLocaleString("en") + unit);
  }

  // The hour, day or month of UTC, as the server writes it (scp/web/page/rendering.py).
  function began(seconds, by) {
    const written = new Date(seconds * 1000).toISOString();
    return by === "hour" ? written.slice(0, 16).replace("T", " ") : written.slice(0, by === "day" ? 10 : 7);
  }

  function draw(figure) {
    const plot = figure.querySelector(".plot");
    const rows = [...figure.querySelectorAll("tbody tr")];
    if (typeof uPlot === "undefined" || plot.childElementCount || rows.length < 2) return;
    const titles = [...figure.querySelectorAll("thead th")].map((one) => one.textContent);
    const data = titles.map((_, at) => rows.map((row) => Number(row.children[at].dataset.value)));
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const text = color("--text"), line = color("--line"), told = written(figure.dataset.unit);
    const utc = "by" in figure.dataset;
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const colors = ["--first", "--second", "--third"].map(color);
    const series = titles.slice(1).map((label, at) => ({
      label, stroke: colors[at % colors.length], width: 2, dash: at ? [8, 3 * at] : [],
      value: (_, value) => told(value),
    }));
    const options = {
      width: Math.max(280, figure.clientWidth), height: 240, padding: [12, 12, 0, 0],
      series: [utc ? { value: (_, at) => (at == null ? "" : began(at, figure.dataset.by)) } : {}, ...series],
      ...(utc && { tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC") }),
      axes: [axis, { ...axis, size: 90, values: (_, ticks) => ticks.map(told) }],
      scales: { y: { range: (_, least, most) => [Math.min(0, least || 0), most > 0 ? most * 1.05 : 1] } },
    };
    const chart = new uPlot(options, data, plot);
    new ResizeObserver(() => chart.setSize({ width: Math.max(280, figure.clientWidth), height: 240 }))
      .observe(figure);
  }

  function drawAll(within) {
    for (const figure of within.querySelectorAll("figure.chart")) draw(figure);
  }

  watchPause();
  drawAll(document);
  document.body.addEventListener("htmx:afterSwap", (event) => drawAll(event.target));
})();
