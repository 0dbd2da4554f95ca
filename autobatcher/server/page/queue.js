// What waits, by kind.

function kindRow(kind) {
  const oldest = kind.oldest_queued_seconds === null ? "" : `, the oldest queued for ${span(kind.oldest_queued_seconds)}`;
  return tableRow(kind.model, `${kind.endpoint}, ${LANES[kind.lane] ?? kind.lane} lane${oldest}`, [
    make("td", "amount", number(kind.queued)), make("td", "amount", number(kind.under_way))]);
}

function showQueue(queue) {
  const { kinds, kinds_left_out: others } = queue ?? { kinds: [], kinds_left_out: 0 };
  get("queue").hidden = kinds.length === 0;
  get("kind-list").replaceChildren(...kinds.map(kindRow));
  get("queue-note").hidden = others === 0;
  put(get("queue-note"), `And ${counted(others, "more kind")}, of which fewer wait.`);
}
