// Requests waiting and done, minute by minute.

const SVG = "http://www.w3.org/2000/svg", HEIGHT = 100;

function drawn(name, className, attributes) {
  const element = document.createElementNS(SVG, name);
  element.setAttribute("class", className);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** The least of 1, 2, 5, 10, 20, ... that is not below. */
function roundAbove(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((value) => value >= most);
}

/** One plot: its scale, its shapes, and the same in words. */
function plot(id, minutes, most, shapesOf, words) {
  const svg = get(id), scale = roundAbove(most);
  svg.setAttribute("viewBox", `0 0 ${minutes} ${HEIGHT}`);
  svg.setAttribute("aria-label", words);
  put(svg.parentElement.querySelector(".most"), new Intl.NumberFormat("en", { notation: "compact" }).format(scale));
  put(svg.closest("figure").querySelector(".axis span"), minutes > 60 ? "2 hours ago" : "an hour ago");
  svg.replaceChildren(...shapesOf((value) => HEIGHT * (1 - value / scale)));
}

/** A line with an area below for each run of minutes that are known. */
function lineOf(values, first, top) {
  const shapes = [];
  let points = [];
  const end = () => {
    if (points.length === 1) points.push([points[0][0] + 1, points[0][1]]);
    if (points.length) {
      const path = points.map((point) => point.join(",")).join(" L");
      shapes.push(drawn("path", "area", { d: `M${points[0][0]},${HEIGHT} L${path} L${points.at(-1)[0]},${HEIGHT} Z` }));
      shapes.push(drawn("path", "line", { d: `M${path}` }));
    }
    points = [];
  };
  values.forEach((value, index) => {
    if (value === null) end();
    else points.push([first + index + (index === values.length - 1 ? 1 : 0.5), top(value)]);
  });
  end();
  return shapes;
}

function barsOf(history, first, top) {
  return history.answered.flatMap((answered, index) => {
    const failed = history.failed[index], x = first + index + 0.1;
    const bar = (className, from, to) => drawn("rect", className, { x, width: 0.8, y: top(to), height: top(from) - top(to) });
    return [answered ? bar("answered", 0, answered) : null, failed ? bar("failed", answered, answered + failed) : null].filter(Boolean);
  });
}

let tabled = "";

/** The same for those who see no picture, or want to read a number: the minutes that are over, the newest first. */
function showMinutes({ waiting, answered, failed }) {
  const over = waiting.slice(0, -1), said = JSON.stringify([over, answered, failed].map((each) => each.slice(0, over.length)));
  if (!get("minutes").open || said === tabled) return;
  tabled = said;
  const rows = over.map((_, index) => {
    const row = make("tr"), head = make("th", "", number(over.length - index));
    head.scope = "row";
    row.append(head, ...[waiting, answered, failed].map((each) => make("td", "", each[index] === null ? "–" : number(each[index]))));
    return row;
  });
  get("minute-list").replaceChildren(...rows.reverse());
}

function showChart(history) {
  const { waiting, answered, failed } = history, minutes = waiting.length > 60 ? 120 : 60;
  const sliced = { answered: answered.slice(-minutes), failed: failed.slice(-minutes) }, shown = waiting.slice(-minutes);
  const first = minutes - shown.length, done = sliced.answered.map((count, index) => count + sliced.failed[index]);
  const sum = (counts) => counts.reduce((total, count) => total + count, 0);
  get("chart").hidden = Math.max(...shown, ...done) === 0;
  const time = `the last ${counted(shown.length, "minute")}`;
  plot("waiting-plot", minutes, Math.max(...shown), (top) => lineOf(shown, first, top),
    `Requests waiting in ${time}: ${number(Math.max(...shown))} at most, ${number(shown.at(-1))} now`);
  plot("done-plot", minutes, Math.max(...done), (top) => barsOf(sliced, first, top),
    `Requests done a minute in ${time}: ${number(Math.max(...done))} at most; ${number(sum(sliced.answered))} answered and ${number(sum(sliced.failed))} failed together`);
  get("minutes").hidden = history.waiting.length < 2; // the first minute is not over
  showMinutes(history);
}

get("minutes").addEventListener("toggle", () => { if (shown !== null) showMinutes(shown.history); });
