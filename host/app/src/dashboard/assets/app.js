// Draws the charts of a page; everything it shows stands in a table beside the chart too. It also leaves a part of a
// page as it is while someone reads it by keyboard.
"use strict";

(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // A dashed line at the first day with another meaning.
  const breaks = (at) => ({
    hooks: {
      draw: [
        (plot) => {
          const { ctx, bbox } = plot;
          ctx.save();
          ctx.strokeStyle = colour("--warn");
          ctx.lineWidth = 2;
          ctx.setLineDash([6, 4]);
          for (const index of at) {
            const x = Math.round(plot.valToPos(plot.data[0][index], "x", true));
            ctx.beginPath();
            ctx.moveTo(x, bbox.top);
            ctx.lineTo(x, bbox.top + bbox.height);
            ctx.stroke();
          }
          ctx.restore();
        },
      ],
    },
  });

  const draw = (place) => {
    const { label, x, y, late, breaks: at } = JSON.parse(place.dataset.chart);
    const isLate = new Set(late);
    const lateOnly = y.map((value, index) => (isLate.has(index) ? value : null));
    const axis = { stroke: colour("--text"), grid: { stroke: colour("--line"), width: 1 } };
    const size = () => ({ width: Math.max(280, place.clientWidth), height: 260 });
    const plot = new uPlot(
      {
        ...size(),
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        axes: [axis, { ...axis, size: 70 }],
        legend: { live: false },
        series: [
          {},
          // A day without a value interrupts the line; a lone value is a point.
          { label, stroke: colour("--accent"), width: 2, spanGaps: false, points: { show: true, size: 5 } },
          {
            label: "observed late",
            stroke: colour("--warn"),
            width: 0,
            paths: () => null,
            points: { show: true, size: 10, fill: colour("--page") },
          },
        ],
        plugins: [breaks(at)],
      },
      [x, y, lateOnly],
      place,
    );
    new ResizeObserver(() => plot.setSize(size())).observe(place);
    return plot;
  };

  // What has the focus would be gone with the part that is replaced.
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.contains(document.activeElement)) {
      event.preventDefault();
    }
  });

  const places = [...document.querySelectorAll("[data-chart]")];
  let plots = places.map(draw);
  dark.addEventListener("change", () => {
    plots.forEach((plot) => plot.destroy());
    plots = places.map(draw);
  });
})();
