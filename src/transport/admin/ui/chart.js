// Sparklines: the last five minutes of a number, as SVG with a text in its place for those who do
// not see it.

const SPAN_MS = 300_000;
const WIDTH = 300;
const HEIGHT = 44;
const SVG = "http://www.w3.org/2000/svg";

function shape(name, kind) {
  const made = document.createElementNS(SVG, name);
  made.setAttribute("class", kind);
  return made;
}

export class Chart {
  // `lines` is how many numbers it draws over each other; `write` is how its scale is written.
  constructor(title, lines, write) {
    this.title = title;
    this.write = write;
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("class", "chart");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.area = shape("path", "area");
    this.lines = Array.from({ length: lines }, (_, at) => shape("path", at === 0 ? "line" : "line two"));
    const base = shape("path", "base");
    base.setAttribute("d", `M0 ${HEIGHT - 1}H${WIDTH}`);
    this.svg.append(base, this.area, ...this.lines);
    this.top = document.createElement("span");
    const span = document.createElement("span");
    span.textContent = "5 min";
    this.scale = document.createElement("div");
    this.scale.className = "scale";
    this.scale.setAttribute("aria-hidden", "true");
    this.scale.append(span, this.top);
    this.elements = [this.svg, this.scale];
  }

  // Draws rows of numbers over their times; null is a gap.
  draw(times, rows) {
    const now = times.at(-1) ?? 0;
    const known = rows.flat().filter((value) => value !== null);
    const most = Math.max(...known, 0);
    const top = most > 0 ? most : 1;
    const x = (time) => (WIDTH * (1 - (now - time) / SPAN_MS)).toFixed(1);
    const y = (value) => (HEIGHT - 2 - (HEIGHT - 6) * (value / top)).toFixed(1);
    rows.forEach((row, at) => {
      const runs = parts(times, row);
      this.lines[at].setAttribute("d", runs.map((run) => line(run, x, y)).join(""));
      if (at === 0) {
        const under = (run) => `${line(run, x, y)}V${HEIGHT - 1}H${x(run[0][0])}Z`;
        this.area.setAttribute("d", runs.map(under).join(""));
      }
    });
    this.top.textContent = known.length > 0 ? `max ${this.write(most)}` : "";
    const least = known.length > 0 ? Math.min(...known) : 0;
    const last = rows.map((row) => row.at(-1) ?? null);
    const current = last.map((value) => (value === null ? "none" : this.write(value))).join(" and ");
    this.svg.setAttribute(
      "aria-label",
      known.length > 0
        ? `${this.title} over the last five minutes: now ${current}, lowest ${this.write(least)}, highest ${this.write(most)}`
        : `${this.title} over the last five minutes: none`,
    );
  }
}

// The runs without a gap; a lone point is drawn as a dash.
function parts(times, row) {
  const runs = [];
  let run = [];
  row.forEach((value, at) => {
    // Seconds that nobody counted, as across a restart, are a gap too.
    const jump = at > 0 && times[at] - times[at - 1] > 5_000;
    if ((value === null || jump) && run.length > 0) {
      runs.push(run);
      run = [];
    }
    if (value !== null) run.push([times[at], value]);
  });
  if (run.length > 0) runs.push(run);
  return runs;
}

function line(run, x, y) {
  const points = run.map(([time, value]) => `${x(time)} ${y(value)}`);
  if (points.length === 1) points.push(`${x(run[0][0] + 1_000)} ${y(run[0][1])}`);
  return `M${points.join("L")}`;
}
