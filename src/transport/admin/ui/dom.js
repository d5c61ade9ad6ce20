// Elements, made without ever reading a text as markup: names come from clients, and a client may
// call itself what it likes.

export const $ = (id) => document.getElementById(id);

// An element with attributes and children; a text becomes a text node.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Sets a text only where it changes, so that a selection is not lost each second.
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// What became of something, in a note that is read out; no text hides it.
export function note(target, text, kind = "") {
  target.className = `note ${kind}`;
  target.hidden = !text;
  say(target, text);
}

// A table: columns are [title, class], rows are lists of cells. A cell is a text, an element, or
// {text, class}. The first column names its row. Cells are changed in place, so that focus and
// selection outlive a second; a row whose cells are elements is made anew unless its key is the same.
export function table(target, caption, columns, rows, empty) {
  if (!target.tHead) {
    const titles = columns.map(([title, kind]) => element("th", { scope: "col", class: kind }, title));
    const head = element("thead", {}, element("tr", {}, ...titles));
    target.replaceChildren(element("caption", {}, caption), head, element("tbody"));
  }
  const body = target.tBodies[0];
  if (rows.length === 0) {
    if (!body.querySelector(".empty")) {
      const cell = element("td", { class: "empty", colspan: columns.length }, empty);
      body.replaceChildren(element("tr", {}, cell));
    }
    return;
  }
  if (body.querySelector(".empty")) body.replaceChildren();
  rows.forEach((cells, index) => {
    const row = body.rows[index];
    if (row && row.cells.length === columns.length) {
      cells.forEach((cell, at) => fill(row.cells[at], cell, columns[at][1]));
      row.className = cells.none ? "none" : "";
      return;
    }
    const made = cells.map((cell, at) => {
      const of = at === 0 ? element("th", { scope: "row" }) : element("td");
      fill(of, cell, columns[at][1]);
      return of;
    });
    const fresh = element("tr", { class: cells.none ? "none" : null }, ...made);
    if (row) row.replaceWith(fresh);
    else body.append(fresh);
  });
  while (body.rows.length > rows.length) body.lastElementChild.remove();
}

function fill(target, cell, kind = "") {
  if (cell instanceof Node) {
    const old = target.firstElementChild;
    if (old && cell.dataset.key && old.dataset.key === cell.dataset.key) return;
    target.className = kind;
    target.replaceChildren(cell);
    return;
  }
  const { text, kind: own = "" } = typeof cell === "object" && cell ? cell : { text: cell };
  const name = `${kind} ${own}`.trim();
  if (target.className !== name) target.className = name;
  say(target, String(text));
}

// A link to the page of a user.
export function userLink(user) {
  const link = element("a", { href: `#/users/${encodeURIComponent(user)}` }, user);
  link.dataset.key = `user ${user}`;
  return link;
}

// A share of a whole, as a bar with its words for those who do not see it.
export function bar(value, max, label) {
  const share = element("progress", { value, max: Math.max(max, 1), "aria-label": label });
  return share;
}
