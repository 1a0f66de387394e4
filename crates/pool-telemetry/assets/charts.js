"use strict";

// The charts of one pool, over the samples of the last five minutes.

const KEPT = 300;
const HEIGHT = 150;

// Title, then [label, field of a sample, colour, width, dash, fill].
const CHARTS = [
  ["connections", count, [
    ["max", "max", "--limit", 1, [6, 4]],
    ["target", "target", "--target", 1.5, [2, 3]],
    ["min", "min", "--limit", 1, [2, 4]],
    ["open", sample => sample.active + sample.idle, "--idle", 1.5, null, true],
    ["in use", "active", "--used", 1.5, null, true],
  ]],
  ["callers waiting", count, [
    ["waiting", "waiting", "--tail", 1.5, null, true],
  ]],
  ["wait for a connection", duration, [
    ["p99", "waitP99", "--tail", 1.5],
    ["p50", "waitP50", "--used", 1.5],
  ]],
  ["time held", duration, [
    ["p99", "holdP99", "--tail", 1.5],
    ["p50", "holdP50", "--used", 1.5],
  ]],
  ["time to connect", duration, [
    ["p99", "connectP99", "--tail", 1.5],
    ["p50", "connectP50", "--used", 1.5],
  ]],
  ["checkouts and errors per second", rate, [
    ["checkouts", "acquired", "--used", 1.5, null, true],
    ["errors", "errors", "--bad", 1.5],
  ]],
];

function count(value) {
  return value == null ? "–" : String(Math.round(value * 10) / 10);
}

function rate(value) {
  if (value == null) return "–";
  return value >= 100 ? Math.round(value).toLocaleString("en") : String(Math.round(value * 10) / 10);
}

// Milliseconds in three digits.
function duration(value) {
  if (value == null) return "–";
  if (value === 0) return "0 ms";
  if (value < 1) return `${Math.round(value * 1000)} µs`;
  if (value < 1000) return `${Number(value.toPrecision(3))} ms`;
  return `${Number((value / 1000).toPrecision(3))} s`;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

class Charts {
  constructor(parent, name) {
    this.parent = parent;
    this.name = name;
    this.samples = [];
    this.plots = [];
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(parent);
    this.draw();
  }

  // Also when the colours have changed.
  draw() {
    this.plots.forEach(plot => plot.destroy());
    this.parent.replaceChildren();
    this.plots = CHARTS.map(([title, format, lines]) => {
      const box = document.createElement("div");
      box.className = "chart";
      const heading = document.createElement("h3");
      heading.textContent = title;
      box.append(heading);
      this.parent.append(box);
      const grid = { stroke: colour("--grid"), width: 1 };
      const axis = { stroke: colour("--muted"), grid, ticks: grid, font: "11px system-ui, sans-serif" };
      const plot = new uPlot({
        width: this.width(box),
        height: HEIGHT,
        cursor: { sync: { key: this.name }, points: { size: 5 } },
        scales: { y: { range: (_, low, high) => [0, Math.max(high == null ? 0 : high * 1.1, 1e-3)] } },
        axes: [
          { ...axis, space: 70, values: [
            [60, "{HH}:{mm}", null, null, null, null, null, null, 1],
            [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
          ] },
          { ...axis, size: 58, values: (_, values) => values.map(format) },
        ],
        series: [{ value: "{HH}:{mm}:{ss}" }].concat(lines.map(([label, , stroke, width, dash, fill]) => ({
          label,
          stroke: colour(stroke),
          width,
          dash: dash || undefined,
          fill: fill ? colour(stroke) + "30" : undefined,
          points: { show: false },
          spanGaps: true,
          value: (_, value) => format(value),
        }))),
      }, this.data(lines), box);
      plot.root.setAttribute("role", "img");
      plot.root.setAttribute("aria-label", `${title} of ${this.name}, last five minutes`);
      plot.lines = lines;
      return plot;
    });
  }

  width(box) {
    return Math.max(box.clientWidth, 120);
  }

  resize() {
    for (const plot of this.plots) {
      const width = this.width(plot.root.parentElement);
      if (width !== plot.width) plot.setSize({ width, height: HEIGHT });
    }
  }

  data(lines) {
    const columns = lines.map(([, field]) =>
      this.samples.map(sample => typeof field === "function" ? field(sample) : sample[field]));
    return [this.samples.map(sample => sample.at / 1000), ...columns];
  }

  show(samples) {
    this.samples = samples.slice(-KEPT);
    this.update();
  }

  add(sample) {
    const last = this.samples[this.samples.length - 1];
    if (!sample || (last && sample.at <= last.at)) return;
    this.samples.push(sample);
    if (this.samples.length > KEPT) this.samples.shift();
    this.update();
  }

  update() {
    if (document.hidden) return;
    this.plots.forEach(plot => plot.setData(this.data(plot.lines)));
  }

  remove() {
    this.resized.disconnect();
    this.plots.forEach(plot => plot.destroy());
  }
}
