"use strict";
// Two models side by side. Which lines are equal was found when the page was made.
{
  const section = document.getElementById("sides");
  const data = stored("data-sides");

  // What is known of a pair stands there in one order only.
  const swapped = ([tag, a, b, c, d]) => [tag === "insert" ? "delete" : tag === "delete" ? "insert" : tag, c, d, a, b];
  const stretches = (table, one, other) =>
    table[one]?.[other] ?? table[other]?.[one]?.map(swapped) ?? null;
  const ratio = (ratios, one, other) => {
    if (ratios[one]?.[other]) return ratios[one][other];
    const found = ratios[other]?.[one];
    return found ? [1 / found[0], 1 / found[2], 1 / found[1], found[3]] : null;
  };
  const short = (x) => (x >= 20 ? x.toFixed(0) : x >= 5 ? x.toFixed(1) : x.toFixed(2));
  const SAID = { equal: "equal within 3 %", unresolved: "not decided", faster: "decided", slower: "decided" };

  // A row for every line of either, equal ones beside each other.
  const rows = (found, left, right) => {
    const all = [];
    for (const [tag, a, b, c, d] of found) {
      for (let i = 0; i < Math.max(b - a, d - c); i++) {
        all.push([tag, a + i < b ? left[a + i] : null, c + i < d ? right[c + i] : null]);
      }
    }
    return all;
  };
  const table = (label, heads, body, className) => make("div", { className: "wide", tabIndex: 0, role: "group", "aria-label": label },
    make("table", { className },
      make("caption", { textContent: label }),
      make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", textContent: text })))),
      make("tbody", {}, ...body)));

  const figuresOf = (one, other) => table("Figures", ["what", one, other, "ratio", "this run says"],
    data.measures.filter(({ values }) => values[one] || values[other]).map(({ label, values, ratios }) => {
      // The way round in which it is 1 or more.
      const forth = ratio(ratios, one, other);
      const found = forth && forth[0] < 1 ? ratio(ratios, other, one) : forth;
      const pair = found === forth ? `${one} : ${other}` : `${other} : ${one}`;
      const told = found ? `${pair} = ${short(found[0])} [${short(found[1])}, ${short(found[2])}]` : "";
      return make("tr", {}, make("th", { scope: "row", textContent: label }),
        ...[values[one] ?? "", values[other] ?? "", told, found ? SAID[found[3]] : "not compared"].map((text) =>
          make("td", { textContent: text })));
    }), "");

  const word = (call) => (call ? (call[1] > 1 ? `${call[1]} x ${call[0]}` : call[0]) : "");
  const callsOf = (one, other) => {
    const [left, right] = [data.calls[one] ?? [], data.calls[other] ?? []];
    if (!left.length || !right.length) return make("p", { className: "small", textContent: "This run has no system calls of both." });
    const found = one === other ? [["equal", 0, left.length, 0, left.length]] : stretches(data.asked, one, other);
    return table("System calls of one request, in their order", [one, other], rows(found, left, right).map(([tag, a, b]) =>
      make("tr", { className: tag === "equal" ? "" : "differs" },
        make("td", { textContent: word(a) }), make("td", { textContent: word(b) }))), "calls");
  };

  const linesOf = (name) => [...document.querySelectorAll(`#${CSS.escape(`source-${name}`)} li`)];
  const cell = (line, number, other) => {
    const content = make("td", { className: line ? (other ? "line" : "line only") : "line none" });
    if (line) content.append(...[...line.cloneNode(true).childNodes]);
    return [make("td", { className: "number", textContent: line ? number : "" }), content];
  };
  const sourcesOf = (one, other) => {
    const [left, right] = [linesOf(one), linesOf(other)];
    const found = one === other ? [["equal", 0, left.length, 0, left.length]] : stretches(data.sources, one, other);
    const body = rows(found ?? [], left, right).map(([tag, a, b]) => {
      const same = tag === "equal" || (a && b && a.textContent === b.textContent);
      const row = make("tr", { className: same ? "" : "differs" });
      row.append(...cell(a, left.indexOf(a) + 1, b), ...cell(b, right.indexOf(b) + 1, a));
      return row;
    });
    const box = table("Sources; lines that differ are marked", ["", one, "", other], body, "code");
    box.querySelectorAll("th").forEach((head) => { if (!head.textContent) head.outerHTML = "<td></td>"; });
    return box;
  };

  const shown = () => {
    const { one, other } = Object.fromEntries(new FormData(section.querySelector("form")));
    section.querySelector(".compared").replaceChildren(figuresOf(one, other), callsOf(one, other), sourcesOf(one, other));
  };

  if (section) {
    section.querySelector("form").addEventListener("change", shown);
    shown();
  }
}
