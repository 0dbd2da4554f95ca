// The batches, and what to do if there are none.

const SHOWN_BATCHES = 10; // that have ended, without a click
const MOST_BATCHES = 500; // that the proxy tells at once
const TRIAL = `'{"model": "MODEL", "messages": [{"role": "user", "content": "Hello"}]}'`;
const batchList = new KeyedList(get("batch-list"), newBatch, fillBatch);
let showsAllBatches = false;

function newBatch(batch) {
  const row = make("li"), head = make("div", "ends"), title = make("span"), bar = make("div", "bar");
  const foot = make("div", "ends"), count = make("span", "count"), kind = make("div", "kind");
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-label", printable(`Batch ${batch.id}`));
  bar.append(make("span", "right"), make("span", "wrong"));
  count.append(make("span", "done"), make("span", "failures"));
  const what = [batch.endpoint, `${LANES[batch.lane] ?? batch.lane} lane`, batch.completion_window ? `${batch.completion_window} window` : ""];
  kind.append(...what.filter(Boolean).map((words) => make("span", "", words)), make("span", "id", batch.id));
  const others = batch.models_left_out ? ` and ${number(batch.models_left_out)} more` : "";
  title.append(make("span", "status"), make("span", "models", batch.models.join(", ") + others));
  head.append(title, make("span", "age"));
  foot.append(count, make("span", "cost"));
  row.append(head, bar, foot, kind);
  return row;
}

function costOf({ cost, unpriced_requests: unpriced }) {
  if (cost === null) return unpriced ? "cost unknown" : "";
  return unpriced ? `${dollars(cost)} and ${counted(unpriced, "request")} of unknown price` : dollars(cost);
}

function fillBatch(row, batch) {
  const part = (name) => row.querySelector(`.${name}`);
  const done = `${number(batch.answered)} of ${number(batch.total)} answered`;
  const failures = batch.failed ? `${number(batch.failed)} failed` : "";
  const percent = (count) => `${(100 * count) / Math.max(batch.total, batch.done, 1)}%`;
  row.className = batch.status === "completed" ? "good" : batch.has_ended ? "bad" : "";
  put(part("status"), batch.status.replaceAll("_", " "));
  put(part("done"), done);
  put(part("failures"), failures);
  const left = batch.remaining_seconds === null ? "" : `, about ${span(batch.remaining_seconds)} left`;
  put(part("age"), (batch.has_ended ? "took " : "for ") + span(batch.age_seconds) + left);
  put(part("cost"), costOf(batch));
  part("right").style.width = percent(batch.answered);
  part("wrong").style.width = percent(batch.failed);
  part("wrong").classList.toggle("some", batch.failed > 0);
  const says = { valuemin: 0, valuemax: batch.total, valuenow: Math.min(batch.done, batch.total), valuetext: failures ? `${done}, ${failures}` : done };
  for (const [name, value] of Object.entries(says)) part("bar").setAttribute(`aria-${name}`, value);
}

/** Those that run, and the newest ones that have ended. */
function someBatches(batches) {
  const ended = batches.filter((batch) => batch.has_ended), kept = new Set(ended.slice(0, SHOWN_BATCHES));
  return batches.filter((batch) => !batch.has_ended || kept.has(batch));
}

function showBatches({ batches, batches_known: known, batches_submitted: submitted, queued, requests }) {
  get("no-batch").hidden = batches.length > 0;
  get("first-steps").hidden = requests > 0;
  put(get("no-batch-text"), queued
    ? `No batch yet. ${counted(queued, "request")} will travel in the first one.`
    : `No batch yet. Send a request to ${base}.`);
  const few = someBatches(batches);
  batchList.show(showsAllBatches ? batches : few, (batch) => batch.id);
  const all = Math.min(known, MOST_BATCHES);
  get("more").hidden = few.length >= all;
  get("more").setAttribute("aria-expanded", showsAllBatches);
  put(get("more"), showsAllBatches ? "Show the newest only" : all < known ? `Show ${number(all)} of ${number(known)}` : `Show all ${number(all)}`);
  get("batches-note").hidden = submitted <= all;
  put(get("batches-note"), `${number(submitted)} batches since the start. The newest ${number(all)} can be shown.`);
}

get("more").addEventListener("click", () => {
  showsAllBatches = !showsAllBatches;
  showBatches(shown);
  ask();
});
