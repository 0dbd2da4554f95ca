// What was paid, by model and by lane.

const FATES = { discarded: "nobody waited for the answers any more", paid_twice: "paid twice", stated: "in the provider's statement, and in no answer", unknown: "at most: perhaps not executed" };
let saidOfModels = "";

/** One line, where deadlines or other lanes than batches are used. */
function showLanes({ lanes, escalated, deadlines_missed: missed }) {
  const used = Object.keys(LANES).filter((lane) => lanes[lane]);
  get("by-lane").hidden = !escalated && !missed && !used.some((lane) => lane !== "batch");
  put(get("lanes"), used.map((lane) => `${number(lanes[lane])} ${LANES[lane]}`).join(", ") || "none");
  put(get("lanes-note"), `${number(escalated)} went on to another lane, ${counted(missed, "deadline")} missed`);
}

function modelItem(row) {
  const item = make("li");
  const notes = [`${LANES[row.lane] ?? row.lane}, ${counted(row.requests, "request")}`, row.list_price === null ? "" : `${dollars(row.list_price)} in real time`,
    row.unpriced_requests && row.cost !== null ? `${number(row.unpriced_requests)} of unknown price` : "", FATES[row.fate] ?? ""];
  item.append(make("span", "", row.model), make("strong", "", row.cost === null ? "unknown" : dollars(row.cost)),
    make("span", "note", notes.filter(Boolean).join(", ")));
  return item;
}

function showCost(cost, cap, refused) {
  const isPriced = cost.requests > cost.unpriced_requests, percent = Math.round((100 * cost.saving) / cost.list_price);
  put(get("cost"), isPriced ? dollars(cost.cost) : cost.requests ? "unknown" : dollars("0"));
  put(get("saved"), isPriced && Number(cost.list_price) ? `${dollars(cost.saving)} (${percent} %)` : "–");
  put(get("cost-note"), [
    isPriced && Number(cost.list_price) ? `instead of ${dollars(cost.list_price)} in real time` : "",
    cost.unlisted_requests ? `${counted(cost.unlisted_requests, "request")} of unknown list price` : "",
    cost.unpriced_requests ? `${counted(cost.unpriced_requests, "request")} of unknown price` : "",
    cost.uncertain_requests ? `${counted(cost.uncertain_requests, "request")} perhaps executed` : "",
    cap ? `${dollars(cap.left)} left of ${cap.cap}` : "",
    refused ? `${counted(refused, "call")} refused for want of money` : "",
  ].filter(Boolean).join(", "));
  get("costs").hidden = cost.models.length === 0;
  const said = JSON.stringify([cost.models, cost.models_left_out]);
  if (said === saidOfModels) return;
  saidOfModels = said;
  const items = cost.models.map(modelItem);
  if (cost.models_left_out) items.push(make("li", "note", `and ${number(cost.models_left_out)} more`));
  get("cost-list").replaceChildren(...items);
}
