// The engines that share the journal, and the batches that none of them runs.

function engineRow(engine) {
  const state = engine.is_this ? "this one" : engine.is_alive ? "lives" : "gone";
  const notes = [`process ${engine.pid} on ${engine.host}`,
    engine.is_alive ? `up for ${span(Math.max(0, Date.now() / 1000 - engine.opened_at))}` : "",
    engine.waiting ? `waits for ${counted(engine.waiting, "line")}` : ""];
  return tableRow(engine.url ?? engine.host, notes.filter(Boolean).join(", "), [
    make("td", `state${engine.is_alive ? "" : " gone"}`, state), make("td", "amount", number(engine.batches))]);
}

function showFleet(fleet) {
  get("fleet").hidden = fleet === null;
  if (fleet === null) return;
  const isEmpty = fleet.age_seconds === null;
  put(get("fleet-note"), [
    fleet.is_stale ? `The journal's database does not answer. ${isEmpty ? "" : `This is how it was ${span(fleet.age_seconds)} ago.`}` : "",
    fleet.engines_left_out ? `And ${counted(fleet.engines_left_out, "more engine")}.` : "",
    fleet.left_batches ? `Unfinished batches that no engine runs: ${number(fleet.left_batches)}.` : "",
    fleet.waiting_for_a_key.length ? "This proxy has no key for those at:" : "",
  ].filter(Boolean).join(" "));
  get("engine-list").replaceChildren(...fleet.engines.map(engineRow));
  const accounts = fleet.waiting_for_a_key.map((each) => make("li", "", `${each.base_url} (${each.provider}): ${number(each.batches)}`));
  if (fleet.accounts_left_out) accounts.push(make("li", "", `and ${counted(fleet.accounts_left_out, "more account")}`));
  get("key-list").replaceChildren(...accounts);
}
