// Charts that answer to the mouse, in the place of their images; without scripts and on paper the
// images stay. Drawn by uPlot from the data that each figure carries.
{
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const charts = [];
  const draw = (chart) => {
    const { box, data } = chart;
    const style = getComputedStyle(document.documentElement);
    const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
    const colour = (one) => (one.colour === "#000000" ? ink : one.colour);
    const count = data.series.length;
    const shown = (_, value) => (value == null ? "–" : value.toFixed(2));
    const lines = data.series.map((one) => ({
      label: one.label, stroke: colour(one), dash: one.dashes, width: 2, value: shown, spanGaps: true,
      paths: one.dots ? () => null : undefined,
      points: { show: !one.level, size: one.dots ? 10 : 7, fill: one.filled ? colour(one) : style.getPropertyValue("--paper") },
    }));
    const banded = data.series.map((one, index) => [one, index + 1]).filter(([one]) => one.high && !one.level);
    const edge = { class: "band", stroke: "transparent", width: 0, points: { show: false } };
    const bands = banded.map(([one, of], index) => ({
      of, series: [count + 2 * index + 2, count + 2 * index + 1], fill: colour(one) + (colour(one).length === 7 ? "26" : ""),
    }));
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    const [least, most] = [data.at[0], data.at[data.at.length - 1]];
    const margin = (most - (data.zero ? 0 : least)) * 0.04 || Math.abs(most) * 0.1 || 1;
    chart.plot?.destroy();
    chart.plot = new uPlot({
      width: box.clientWidth, height: 320,
      scales: { y: { range: (_, low, high) => {
        const least = Math.min(low, ...data.series.filter((one) => one.dots).flatMap((one) => one.low.filter((value) => value != null)));
        return uPlot.rangeNum(least, high, 0.1, true);
      } }, x: { time: false, range: () => [data.zero ? 0 : least - margin, most + margin] } },
      axes: [
        { ...axis, label: data.x, ...(data.ticks ? { splits: () => data.at, values: (_, at) => at.map((rank, index) => (index && rank - at[index - 1] < (most - least) / 20 ? "" : rank)) } : {}) },
        { ...axis, label: data.y, size: 60 },
      ],
      cursor: { points: { size: 9 } },
      series: [{ label: data.x }, ...lines, ...banded.flatMap(() => [edge, edge])],
      bands,
      hooks: {
        // From the worst to the best value at the same place.
        draw: [(plot) => data.series.forEach((one, index) => {
          const at = one.dots && plot.series[index + 1].show ? one.values.findIndex((value) => value != null) : -1;
          if (at < 0) return;
          const x = plot.valToPos(data.at[at], "x", true);
          plot.ctx.strokeStyle = colour(one);
          plot.ctx.lineWidth = devicePixelRatio;
          plot.ctx.beginPath();
          plot.ctx.moveTo(x, plot.valToPos(one.low[at], "y", true));
          plot.ctx.lineTo(x, plot.valToPos(one.values[at], "y", true));
          plot.ctx.stroke();
        })],
        setSeries: [(plot, index, change) => {
          const band = bands.find((one) => one.of === index);
          if (band && change.show != null) band.series.forEach((each) => plot.setSeries(each, { show: change.show }));
        }],
      },
    }, [data.at, ...data.series.map((one) => one.values), ...banded.flatMap(([one]) => [one.low, one.high])], box);
    box.querySelectorAll(".u-series:not(.band) th").forEach((name, index) => {
      if (!index) return;
      name.tabIndex = 0;
      name.setAttribute("role", "button");
      name.addEventListener("keydown", (event) => event.key === "Enter" && name.click());
    });
  };
  document.querySelectorAll("figure[data-chart]").forEach((figure) => {
    const box = document.createElement("div");
    box.className = "chart";
    figure.prepend(box);
    figure.classList.add("live");
    const chart = { box, data: JSON.parse(figure.dataset.chart) };
    try {
      draw(chart);
      charts.push(chart);
      document.body.classList.add("is-live");
      new ResizeObserver(() => {
        if (box.clientWidth && box.clientWidth !== chart.plot.width) chart.plot.setSize({ width: box.clientWidth, height: 320 });
      }).observe(box);
    } catch (error) {
      console.error(error);
      figure.classList.remove("live");
      box.remove();
    }
  });
  dark.addEventListener("change", () => charts.forEach(draw));
}
