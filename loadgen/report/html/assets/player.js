"use strict";
// Films: what a server did, moment by moment. One clock for all films that are shown together.
// A call that took longer has waited: one that is made to wait, and any other, which may have been
// held up by the recording.
const SLEEP_NS = 1e6;
const LONG_NS = 2e7;
const WAITING = /^(p?select6?|p?poll|epoll_p?wait2?|rt_sigtimedwait|io_uring_enter|wait4|clock_nanosleep)$/;
const SPEEDS = [["1/200", 200], ["1/50", 50], ["1/10", 10], ["real time", 1]];
const reels = new Map();

function reelOf(name) {
  if (!reels.has(name)) reels.set(name, unpacked(`reel-${name}`).then(JSON.parse));
  return reels.get(name);
}

const ms = (ns) => `${(ns / 1e6).toFixed(3)} ms`;
const isWait = (event) => event.kind === "call"
  && (event.took_ns === null || event.took_ns >= (WAITING.test(event.name) ? SLEEP_NS : LONG_NS));
const asked = (call) => `${call.name}(${call.arguments})`;

// Which arguments the kernel fills in, counted from 0: while a call is under way nobody knows them.
const FILLED = {
  accept4: [1, 2], epoll_wait: [1], epoll_pwait: [1], epoll_pwait2: [1], getsockname: [1, 2], getsockopt: [3],
  read: [1], readv: [1], recvfrom: [1, 4, 5], recvmsg: [1], rt_sigtimedwait: [1],
};

function asking({ name, arguments: text }) {
  const filled = FILLED[name] ?? [];
  // Up to the next comma that is not within brackets or quotes.
  const parts = text.match(/(?:"(?:\\.|[^"\\])*"|\[[^\]]*\]|\{[^}]*\}|[^,"[{])+/g) ?? [];
  return `${name}(${parts.map((part, i) => (filled.includes(i) ? "…" : part.trim())).join(", ")})`;
}
const shortened = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);

// What is the case at a moment: of each thread its line and its call, what clients did, what waits.
function stateAt(film, now) {
  const threads = film.threads.map(() => ({ line: null, call: null, returned: null, again: "", at_ns: now }));
  const state = { threads, deeds: [], kernel: { backlog: 0, unread: {}, unsent: {} }, watched: new Map(), last: null };
  for (const event of film.events) {
    if (event.at_ns > now) {
      // Nothing happens before the next look at the kernel: so it saw what is the case now.
      if (event.kind === "kernel") state.kernel = event;
      break;
    }
    state.last = event;
    const thread = threads[event.thread];
    if (thread) thread.at_ns = event.at_ns + (event.took_ns ?? 0);
    if (event.kind === "line") Object.assign(thread, { line: event.line, call: null, again: "" });
    else if (event.kind === "call") {
      const over = event.took_ns !== null && event.at_ns + event.took_ns <= now && event.at_ns !== now;
      thread.call = over ? null : event;
      thread.returned = over ? event : thread.returned;
      if (over) remembered(state.watched, event);
    } else if (event.kind === "again") thread.again = `the last ${event.events} events, ${event.times.toLocaleString("en")} times more`;
    else if (event.kind === "client") state.deeds.push(event);
    else state.kernel = event;
  }
  return state;
}

// What epoll_ctl() has told the kernel to remember, by thread and descriptor.
function remembered(watched, { thread, name, arguments: text, result }) {
  const [, change, added] = /^\d+, EPOLL_CTL_(ADD|DEL), (\d+(?:<[^>]*>)?)/.exec(name === "epoll_ctl" && result === "0" ? text : "") ?? [];
  const closed = name === "close" ? /^\d+(?:<[^>]*>)?/.exec(text)?.[0] : null;
  if (change === "ADD") watched.set(`${thread} ${added}`, added);
  else watched.delete(`${thread} ${added ?? closed}`);
}

// One server on the stage: source, clients, kernel.
class Stage {
  constructor(film) {
    this.film = film;
    this.root = make("div", { className: "stage" });
    this.source = make("div", { className: "code", tabIndex: 0, role: "group", "aria-label": `Source of ${film.server}` });
    const kept = document.querySelectorAll(`#${CSS.escape(`source-${film.server}`)} li`);
    const lines = film.source === null ? [...kept].map((line) => line.cloneNode(true))
      : film.source.split("\n").map((text) => make("li", { textContent: text }));
    this.lines = lines;
    this.source.append(make("ol", {}, ...lines));
    this.clients = new Map();
    this.lanes = make("div", { className: "lanes" });
    this.end = film.events.at(-1)?.at_ns ?? 0;
    // The most that waits anywhere in the film: bars are shares of it.
    this.most = Math.max(1, ...film.events.filter(({ kind }) => kind === "kernel").flatMap(({ unread, unsent }) => [...Object.values(unread), ...Object.values(unsent)]));
    // Does it ask about several sockets at once? Then it matters who keeps the list of them.
    this.list = film.events.some(({ name }) => /^(p?select6?|p?poll|epoll_p?wait2?)$/.test(name));
    for (const number of [...new Set(film.events.filter((e) => e.kind === "client").map((e) => e.client))].sort()) {
      const track = make("div", { className: "track" });
      for (const deed of film.events) {
        if (deed.kind !== "client" || deed.client !== number) continue;
        const tick = make("i", { className: deed.what.startsWith("hears") ? "hears" : "does" });
        tick.style.left = `${(99 * Math.max(0, deed.at_ns)) / this.end}%`;
        track.append(tick);
      }
      const head = make("b", { className: "at" });
      track.append(head);
      const log = make("ol", { className: "log" });
      this.clients.set(number, { head, log });
      this.lanes.append(make("div", { className: "lane" }, make("p", { className: "title", textContent: `client ${number}` }), track, log));
    }
    this.kernel = make("div", { className: "kernel" });
    this.asking = make("ul", { className: "asking" });
    const part = (title, ...content) => make("div", { className: "part" }, make("p", { className: "head", textContent: title }), ...content);
    this.root.append(
      make("p", { className: "title", textContent: `${film.server}, ${film.file}, Python ${film.python}` }),
      ...film.not_recorded.map((text) => make("p", { className: "small", textContent: `Not recorded: ${text}.` })),
      make("div", { className: "scene" }, part(film.threads.length > 1 ? "The line at which each is, by number" : "The line that runs, or ran last", this.source), part("The clients (above: does, below: hears)", this.lanes),
        part("The kernel, and what it is asked", this.kernel, this.asking)),
    );
  }

  show(now) {
    const state = stateAt(this.film, now);
    const several = this.film.threads.length > 1;
    for (const line of this.lines) line.removeAttribute("data-at");
    let current = null;
    for (const [number, { line, call }] of state.threads.entries()) {
      const at = line && this.lines[line - 1];
      if (!at) continue;
      const before = at.getAttribute("data-at");
      at.setAttribute("data-at", several ? `${before ? `${before},` : ""}${number + 1}` : "▶");
      at.dataset.state = call && isWait(call) ? "waits" : "runs";
      if (!current || state.last?.thread === number) current = at;
    }
    if (current) this.source.scrollTop = current.offsetTop - this.source.clientHeight / 2;
    for (const [number, { head, log }] of this.clients) {
      head.style.left = `${Math.min(99, (99 * Math.max(0, now)) / this.end)}%`;
      const deeds = state.deeds.filter((deed) => deed.client === number).slice(-4);
      log.replaceChildren(...deeds.map((deed) => make("li", { textContent: deedTold(deed) })));
    }
    this.showKernel(state.kernel, [...new Set(state.watched.values())]);
    const busy = state.threads.map((thread, number) => ({ ...thread, number })).filter(({ line, call, returned }) => line || call || returned);
    this.asking.replaceChildren(...busy.map((thread) => make("li", {
      className: thread.call && isWait(thread.call) ? "waits" : "runs",
      textContent: `${several ? `${this.named(thread.number)}: ` : ""}${threadTold(thread, now, this.end)}`,
    })));
    return state;
  }

  named(number) {
    const name = this.film.threads[number];
    return name === `thread ${number + 1}` ? name : `${number + 1}, ${name}`;
  }

  showKernel({ backlog, unread, unsent }, watched) {
    const rows = [["to be accepted", backlog, `${backlog} ${backlog === 1 ? "client" : "clients"}`, backlog / 3]];
    for (const [words, sizes] of [["sent by", unread], ["for", unsent]]) {
      for (const [client, bytes] of Object.entries(sizes)) {
        const what = words === "for" ? "not yet taken by" : "not yet received from";
        rows.push([`${what} client ${client}`, bytes, `${bytes.toLocaleString("en")} bytes`, bytes / this.most]);
      }
    }
    const names = watched.map((each) => /<(.*)>/.exec(each)?.[1] ?? `descriptor ${each}`).join(", ");
    if (this.list) rows.push([`list kept between calls: ${names || "none"}`, watched.length, "", 0]);
    this.kernel.replaceChildren(...rows.map(([words, amount, told, share]) => {
      const bar = make("span", { className: "bar" });
      bar.style.width = `${Math.min(100, 100 * share)}%`;
      return make("div", { className: amount ? "held some" : "held" }, make("span", { textContent: words }), make("span", { textContent: told }), bar);
    }));
  }
}

function deedTold({ at_ns, what, data, more_bytes }) {
  const said = data ? ` ${JSON.stringify(shortened(data, 24))}` : "";
  const more = more_bytes ? ` and ${more_bytes.toLocaleString("en")} bytes more` : "";
  return `${ms(at_ns)} ${what}${said}${more}`;
}

function threadTold({ line, call, returned, again, at_ns }, now, end) {
  if (call) {
    const beyond = call.took_ns === null || call.at_ns + call.took_ns > end;
    const waits = beyond ? "sleeps to the end of the film" : isWait(call) ? `sleeps ${ms(call.took_ns)}` : "asks";
    return `${waits}: ${shortened(asking(call), 220)}`;
  }
  if (again) return again;
  if (now - at_ns > LONG_NS) return `rests at line ${line}, in no call that was recorded`;
  return returned ? `runs; last ${returned.name} gave ${shortened(returned.result, 60)}` : `runs line ${line}`;
}

function eventTold(event, now) {
  if (!event) return "nothing has happened yet";
  if (event.kind === "line") return `line ${event.line}, in ${event.function}`;
  if (event.kind === "call") return event.at_ns + (event.took_ns ?? Infinity) > now ? shortened(asking(event), 120)
    : `${shortened(asked(event), 120)} = ${event.result}`;
  if (event.kind === "client") return `client ${event.client}: ${deedTold(event)}`;
  if (event.kind === "again") return `the same again, ${event.times} times`;
  return "what waits in the kernel has changed";
}

// One or two films and their buttons.
class Player {
  constructor(root, films) {
    this.stages = films.map((film) => new Stage(film));
    this.now = 0;
    this.playing = null;
    this.moments = [...new Set(films.flatMap((film) => film.events.map((event) => event.at_ns)))].sort((a, b) => a - b);
    this.end = this.moments.at(-1) ?? 0;
    const button = (text, label, does) => {
      const made = make("button", { type: "button", textContent: text, title: label, "aria-label": label });
      made.addEventListener("click", does);
      return made;
    };
    this.slider = make("input", { type: "range", min: 0, max: Math.ceil(this.end / 1e6), value: 0, "aria-label": "Moment of the film" });
    this.slider.addEventListener("input", () => this.go(1e6 * +this.slider.value));
    this.clock = make("output", { className: "clock" });
    this.status = make("p", { className: "status", role: "status" });
    this.play = button("Play", "Play", () => (this.playing ? this.stop() : this.start()));
    this.speed = make("select", { "aria-label": "Speed" }, ...SPEEDS.map(([text, slower]) => make("option", { value: slower, textContent: text, selected: slower === 50 })));
    const buttons = make("div", { className: "buttons" },
      button("Start", "To the start", () => this.go(0)),
      button("Back", "One step back", () => this.step(-1)), this.play,
      button("Step", "One step forward", () => this.step(1)),
      button("Next call", "To the next system call", () => this.next(() => true)),
      button("Next wait", "To the next time a server waits", () => this.next(isWait)),
      make("label", {}, "Speed ", this.speed), this.clock);
    root.replaceChildren(buttons, this.slider, this.status, make("div", { className: `stages of-${films.length}` }, ...this.stages.map((stage) => stage.root)));
    this.go(0);
  }

  go(now, quiet = false) {
    this.now = now;
    const states = this.stages.map((stage) => stage.show(now));
    this.slider.value = now / 1e6;
    this.slider.setAttribute("aria-valuetext", ms(now));
    this.clock.textContent = `${ms(now)} of ${ms(this.end)}`;
    this.status.setAttribute("aria-live", quiet ? "off" : "polite");
    this.status.textContent = this.stages.map((stage, i) => `${stage.film.server}: ${eventTold(states[i].last, now)}`).join(" | ");
  }

  step(by) {
    this.stop();
    const at = by > 0 ? this.moments.find((moment) => moment > this.now) : this.moments.findLast((moment) => moment < this.now);
    if (at !== undefined) this.go(at);
  }

  next(wanted) {
    this.stop();
    const found = this.stages.flatMap(({ film }) => film.events.filter((event) => event.kind === "call" && event.at_ns > this.now && wanted(event)));
    if (found.length) this.go(Math.min(...found.map((event) => event.at_ns)));
    else if (wanted !== isWait) this.status.textContent = "No more calls.";
    else this.status.textContent = this.stages.some(({ film }) => film.events.some(isWait)) ? "It does not wait again." : "No call of it waits: it asks again and again.";
  }

  start() {
    if (this.now >= this.end) this.go(0);
    this.play.textContent = "Pause";
    let before = performance.now();
    const tick = (time) => {
      this.now = Math.min(this.end, this.now + ((time - before) * 1e6) / +this.speed.value);
      before = time;
      this.go(this.now, true);
      if (this.now >= this.end) this.stop();
      else this.playing = requestAnimationFrame(tick);
    };
    this.playing = requestAnimationFrame(tick);
  }

  stop() {
    if (!this.playing) return;
    cancelAnimationFrame(this.playing);
    this.playing = null;
    this.play.textContent = "Play";
    this.go(this.now);
  }
}

const players = new WeakMap();
async function screen(root, names) {
  players.get(root)?.stop();
  players.set(root, new Player(root, await Promise.all(names.map(reelOf))));
}

for (const details of document.querySelectorAll("details.film")) {
  details.addEventListener("toggle", () => {
    const root = details.querySelector(".player");
    if (details.open && !players.has(root)) screen(root, details.dataset.film.split(" "));
    else if (!details.open) players.get(root)?.stop();
  });
}
{
  const section = document.getElementById("films");
  const form = section.querySelector("form");
  const chosen = () => {
    const { one, other } = Object.fromEntries(new FormData(form));
    return screen(section.querySelector(".player"), other && other !== one ? [one, other] : [one]);
  };
  if (form) {
    form.addEventListener("change", chosen);
    new IntersectionObserver((entries, watch) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watch.disconnect();
      chosen();
    }, { rootMargin: "400px" }).observe(section);
  }
}
