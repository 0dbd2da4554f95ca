// Asks the proxy, and shows what it says.

const PAUSE = 2000, PATIENCE = 10000; // ms
const here = location.origin + location.pathname; // without a key that somebody wrote into the address
const base = new URL("v1", here).href;
let shown = null, lostAt = null, isAsking = false, timer;

function show(status) {
  shown = status;
  const numbers = {
    waiting: status.waiting, queued: status.queued, "under-way": status.waiting - status.queued,
    away: status.clients_away, requests: status.requests, answered: status.answered, failed: status.failed,
    reattached: status.reattached, "tokens-in": status.input_tokens, "tokens-out": status.output_tokens,
  };
  for (const [id, count] of Object.entries(numbers)) put(get(id), number(count));
  const batches = `in ${status.active_batches === 1 ? "1 batch" : `${number(status.active_batches)} batches`}`;
  put(get("active"), status.lane_requests ? `${batches}, ${number(status.lane_requests)} on other lanes` : batches);
  put(get("where"), `${status.upstream ? `to ${status.upstream}, ` : ""}up for ${span(status.seconds)}`);
  showChart(status.history);
  showFailures(status.failures ?? []);
  showBatches(status);
  showQueue(status.queue);
  showErrors(status.errors);
  showLanes(status);
  showCost(status.cost, status.cap, Object.values(status.refused).reduce((sum, count) => sum + count, 0));
  showFleet(status.fleet);
  document.title = status.waiting ? `${number(status.waiting)} waiting – autobatcher` : "autobatcher";
}

function showConnection(problem) {
  if (problem === null) lostAt = null;
  else lostAt ??= new Date().toLocaleTimeString();
  get("connection").classList.toggle("lost", problem !== null);
  put(get("connection"), problem === null ? "Live" : `${problem} since ${lostAt}. Asking again every ${PAUSE / 1000} seconds. What this page shows is old.`);
  if (problem !== null) document.title = "No answer – autobatcher";
}

/** What the proxy says, and what is wrong; one of them is null. */
async function answer() {
  try {
    const address = new URL(showsAllBatches ? "status?batches=all" : "status", here);
    const response = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (response.ok) return [await response.json(), null];
    if (response.status === 401) return [null, "The proxy asks for its key (load this page again to give it)"];
    return [null, `The proxy has answered with HTTP ${response.status}`];
  } catch {
    return [null, "The proxy has not answered"]; // or with something that is no JSON
  }
}

async function ask() {
  clearTimeout(timer);
  if (isAsking || document.hidden) return;
  isAsking = true;
  const [status, problem] = await answer();
  isAsking = false;
  if (!document.hidden) timer = setTimeout(ask, PAUSE);
  showConnection(problem);
  if (status !== null) show(status);
}

get("setting").textContent = `export OPENAI_BASE_URL=${base}\nexport OPENAI_API_KEY=...`;
get("trial").textContent = `curl ${base}/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d ${TRIAL}`;
document.addEventListener("visibilitychange", ask);
ask();
