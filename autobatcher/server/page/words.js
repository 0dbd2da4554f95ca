// Text of strangers, numbers, spans of time.

const get = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en").format;
const counted = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
const LANES = { batch: "batch", flex: "flex", realtime: "real time" };

/** Words of strangers: no control characters, no marks that turn or hide what follows. */
const printable = (text) => String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, " ");

/** Text only, and only when it is another one: nothing moves under a reader's cursor. */
function put(element, words) {
  const text = printable(words);
  if (element.textContent !== text) element.textContent = text;
}

function make(name, className, text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.textContent = printable(text);
  return element;
}

/** A row of a table: what it is about, a note below that, and its cells. */
function tableRow(title, note, cells) {
  const row = make("tr"), head = make("th", "", title);
  head.scope = "row";
  head.append(document.createElement("br"), make("span", "note", note));
  row.append(head, ...cells);
  return row;
}

/** Shows as many children of a list as there are items, each made once and filled again whenever its item changes. */
class KeyedList {
  #rows = new Map(); // by key

  constructor(list, make, fill) {
    Object.assign(this, { list, make, fill });
  }

  show(items, keyOf) {
    const keys = new Set(items.map(keyOf));
    for (const [key, row] of this.#rows) {
      if (!keys.has(key)) { row.remove(); this.#rows.delete(key); }
    }
    items.forEach((item, index) => {
      const key = keyOf(item);
      if (!this.#rows.has(key)) this.#rows.set(key, this.make(item));
      const row = this.#rows.get(key);
      if (this.list.children[index] !== row) this.list.insertBefore(row, this.list.children[index] ?? null);
      this.fill(row, item);
    });
  }
}

function span(seconds) {
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  const words = (large, largeWord, small, smallWord) =>
    counted(large, largeWord) + (small ? ` ${counted(small, smallWord)}` : "");
  if (days) return words(days, "day", hours % 24, "hour");
  if (hours) return words(hours, "hour", minutes % 60, "minute");
  if (minutes) return counted(minutes, "minute");
  return seconds < 1 ? "under a second" : counted(Math.floor(seconds), "second");
}

/** An amount, which comes as text: cents, or three digits that matter. */
function dollars(text) {
  const amount = Number(text), isSmall = amount !== 0 && Math.abs(amount) < 1;
  const digits = isSmall ? { maximumSignificantDigits: 3 } : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return amount.toLocaleString("en", { style: "currency", currency: "USD", ...digits });
}

/** A moment in Unix seconds, as logs tell it: in UTC, with the day unless it is today. */
function moment(seconds) {
  const [day, time] = new Date(1000 * seconds).toISOString().split(/[T.]/), element = make("time");
  element.dateTime = `${day}T${time}Z`;
  element.textContent = `${new Date().toISOString().startsWith(day) ? "" : `${day} `}${time} UTC`;
  return element;
}
