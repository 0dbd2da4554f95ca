// Failed requests, by cause, and recent errors.

const SHOWN_CAUSES = 5; // without a click
const SHOWN_LINES = 20; // of one cause
const failureList = new KeyedList(get("failure-list"), newCause, fillCause);
let showsAllCauses = false, saidOfFailures = "", saidOfErrors = "";

/** Failures that are alike but for the line, in the order of the newest line. */
function causes(failures) {
  const found = new Map();
  for (const failure of failures) {
    const { status, code, message, model, endpoint, lane } = failure;
    const key = JSON.stringify([status, code, message, model, endpoint, lane]);
    if (!found.has(key)) found.set(key, { key, lines: [] });
    found.get(key).lines.push(failure);
  }
  return [...found.values()];
}

function newCause({ lines: [failure] }) {
  const item = make("li"), head = make("div", "ends"), details = make("details"), lines = make("ol", "lines");
  const status = [failure.status || "no response", failure.code].filter(Boolean).join(" ");
  const title = make("strong", "", status);
  head.append(title, make("span", "muted when"));
  lines.setAttribute("role", "list");
  details.append(make("summary"), lines);
  const where = [failure.model, failure.endpoint, `${LANES[failure.lane] ?? failure.lane} lane`].filter(Boolean).join(", ");
  item.append(head, make("p", "message", failure.message ?? ""), make("p", "note", where), details);
  return item;
}

function lineOfFailure(failure) {
  const line = make("li");
  const tries = failure.tries > 1 ? `try ${number(failure.tries)}` : "";
  const ids = [failure.batch_id, failure.custom_id].filter(Boolean).map((id) => make("span", "id", id));
  line.append(moment(failure.time), ...ids, ...(tries ? [make("span", "muted", tries)] : []));
  return line;
}

function fillCause(item, { lines }) {
  const newest = moment(lines[0].time), oldest = moment(lines.at(-1).time);
  const isAtOnce = oldest.textContent === newest.textContent;
  item.querySelector(".when").replaceChildren(...(isAtOnce ? [newest] : [oldest, " to ", newest]));
  put(item.querySelector("summary"), counted(lines.length, "request"));
  const rows = lines.slice(0, SHOWN_LINES).map(lineOfFailure);
  if (lines.length > SHOWN_LINES) rows.push(make("li", "muted", `and ${number(lines.length - SHOWN_LINES)} more`));
  item.querySelector(".lines").replaceChildren(...rows);
}

function showFailures(failures) {
  const said = JSON.stringify([failures, showsAllCauses]);
  if (said === saidOfFailures) return;
  saidOfFailures = said;
  const found = causes(failures);
  get("failures").hidden = found.length === 0;
  failureList.show(showsAllCauses ? found : found.slice(0, SHOWN_CAUSES), (cause) => cause.key);
  get("more-failures").hidden = found.length <= SHOWN_CAUSES;
  get("more-failures").setAttribute("aria-expanded", showsAllCauses);
  put(get("more-failures"), showsAllCauses ? "Show the newest causes only" : `Show all ${number(found.length)} causes`);
}

function showErrors(errors) {
  const said = JSON.stringify(errors);
  get("no-error").hidden = errors.length > 0;
  if (said === saidOfErrors) return;
  saidOfErrors = said;
  get("error-list").replaceChildren(...errors.map(({ time, text }) => {
    const item = make("li");
    item.append(make("span", "muted", time), document.createElement("br"), text);
    return item;
  }));
}

get("more-failures").addEventListener("click", () => {
  showsAllCauses = !showsAllCauses;
  showFailures(shown.failures ?? []);
});
