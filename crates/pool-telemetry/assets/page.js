"use strict";

// Shows what the stream tells. All text goes through textContent.

const byId = id => document.getElementById(id);
const pools = new Map();
const EVENTS = 200;
const TOKEN = "pool-telemetry-token";
let operations = false;

function clock(at) {
  return new Date(at).toLocaleTimeString("en-GB");
}

function setText(element, text) {
  const value = text == null ? "" : String(text);
  if (element.textContent !== value) element.textContent = value;
}

class Pool {
  constructor(name) {
    this.name = name;
    this.root = byId("pool").content.firstElementChild.cloneNode(true);
    this.root.dataset.pool = name;
    setText(this.root.querySelector("h2"), name);
    this.fields = new Map([...this.root.querySelectorAll("[data-field]")].map(e => [e.dataset.field, e]));
    // By name, however they come: a card stays where it is when a service restarts.
    const after = [...pools.values()].map(pool => pool.root)
      .filter(root => root.dataset.pool > name)
      .sort((a, b) => (a.dataset.pool < b.dataset.pool ? -1 : 1));
    byId("pools").insertBefore(this.root, after[0] ?? null);
    this.charts = new Charts(this.root.querySelector(".charts"), name);
    this.root.addEventListener("submit", event => this.submit(event));
    this.root.addEventListener("click", event => this.click(event));
  }

  set(field, text, bad = false) {
    const element = this.fields.get(field);
    setText(element, text);
    element.classList.toggle("bad", bad);
  }

  show(view) {
    this.view = view;
    for (const field of ["activeConnections", "idleConnections", "connecting", "totalConnections",
      "min", "target", "max", "system", "lastError"]) this.set(field, view[field]);
    const full = view.waitingRequests > 0 && view.totalConnections >= view.max;
    const state = view.state === "open" && full ? "exhausted" : view.state;
    this.set("state", state);
    this.fields.get("state").dataset.value = state;
    this.set("mode", view.sizing && view.sizing.enabled ? `sizing: ${view.mode}` : "sizing: off");
    this.set("waitingRequests", view.waitingRequests, full);
    this.set("oldestWait", duration(view.oldestWait));
    this.set("utilisation", `${Math.round(100 * view.utilisation)} %`);
    this.set("timeouts", view.counters.timeouts, view.counters.timeouts > 0);
    this.set("errors", view.errors, view.errors > 0);
    const last = view.lastSecond || {};
    this.set("waitP99", duration(last.waitP99));
    this.set("holdP99", duration(last.holdP99));
    this.set("connectP99", duration(view.connect.count ? view.connect.p99 : null));
    this.set("acquired", last.acquired == null ? "–" : `${rate(last.acquired)}/s`);
    this.bar(view);
    this.sockets(view.servers);
    this.decisions(view.decisions);
    this.charts.add(view.lastSecond);
    this.root.querySelector(".operations").hidden = !(operations && sessionStorage.getItem(TOKEN));
    const resize = this.root.querySelector('[data-operation="resize"]');
    if (!resize.contains(document.activeElement)) {
      resize.elements.min.value = view.min;
      resize.elements.max.value = view.max;
    }
  }

  bar(view) {
    const whole = Math.max(view.max, view.totalConnections, 1);
    const part = number => `${100 * number / whole}%`;
    const bar = this.root.querySelector(".bar");
    bar.querySelector(".used").style.width = part(view.activeConnections);
    bar.querySelector(".idle").style.width = part(view.idleConnections);
    bar.querySelector(".opening").style.width = part(view.connecting);
    for (const mark of bar.querySelectorAll(".mark")) mark.style.left = part(view[mark.dataset.mark]);
    bar.setAttribute("aria-label",
      `${view.activeConnections} in use and ${view.idleConnections} idle of at most ${view.max}; ` +
      `at least ${view.min}, target ${view.target}`);
  }

  // Rows stay, so that whoever reads one is not thrown out of it every second.
  sockets(servers) {
    const table = this.root.querySelector("table.sockets");
    table.hidden = servers.length === 0;
    const [body] = table.tBodies;
    while (body.rows.length > servers.length) body.lastElementChild.remove();
    while (body.rows.length < servers.length) body.append(byId("server").content.firstElementChild.cloneNode(true));
    servers.forEach((server, at) => {
      const shown = { ...server, state: server.ready ? "ready" : "paused" };
      for (const cell of body.rows[at].cells) {
        const name = cell.dataset.socket;
        setText(cell, shown[name]);
        if (name === "state") cell.dataset.value = shown.state;
        if (name === "connectFailures" || name === "cleared") cell.classList.toggle("bad", shown[name] > 0);
      }
    });
  }

  decisions(decisions) {
    const newest = decisions.length ? decisions[0].at : 0;
    if (newest === this.newest) return;
    this.newest = newest;
    this.root.querySelector(".decisions").replaceChildren(...decisions.map(decision => {
      const item = document.createElement("li");
      const time = document.createElement("time");
      setText(time, clock(decision.at));
      item.append(time, decision.reason);
      return item;
    }));
  }

  submit(event) {
    event.preventDefault();
    const body = {};
    for (const [name, value] of new FormData(event.target)) body[name] = name === "mode" ? value : Number(value);
    this.operate(event.target.dataset.operation, body);
  }

  click(event) {
    const button = event.target.closest("button[data-operation]");
    if (button) this.operate(button.dataset.operation, JSON.parse(button.dataset.body || "null"));
  }

  async operate(operation, body) {
    const outcome = this.root.querySelector(".outcome");
    const headers = { authorization: `Bearer ${sessionStorage.getItem(TOKEN)}` };
    if (body) headers["content-type"] = "application/json";
    let text, bad = false;
    try {
      const answer = await fetch(`api/pools/${encodeURIComponent(this.name)}/${operation}`,
        { method: "POST", headers, body: body ? JSON.stringify(body) : undefined });
      const view = await answer.json();
      bad = !answer.ok;
      text = bad ? view.error : `${operation}: done at ${clock(Date.now())}`;
      if (!bad) this.show(view);
      if (answer.status === 401) lock();
    } catch (error) {
      [text, bad] = [`${operation}: no answer (${error.message})`, true];
    }
    setText(outcome, text);
    outcome.toggleAttribute("data-bad", bad);
  }

  remove() {
    this.charts.remove();
    this.root.remove();
  }
}

function showPools(view) {
  operations = view.operations;
  byId("unlock").hidden = !operations;
  byId("lock").hidden = !sessionStorage.getItem(TOKEN);
  byId("empty").hidden = view.pools.length > 0;
  const names = new Set(view.pools.map(pool => pool.name));
  for (const [name, pool] of pools) {
    if (!names.has(name)) {
      pool.remove();
      pools.delete(name);
    }
  }
  for (const one of view.pools) {
    if (!pools.has(one.name)) pools.set(one.name, new Pool(one.name));
    pools.get(one.name).show(one);
  }
}

function showEvent(event) {
  const list = byId("events");
  let item = list.querySelector(`[data-id="${event.id}"]`);
  if (!item) {
    item = document.createElement("li");
    item.dataset.id = event.id;
    list.prepend(item);
    while (list.children.length > EVENTS) list.lastElementChild.remove();
  }
  item.dataset.kind = event.kind;
  const parts = [["time", "", clock(event.at)], ["b", "", event.pool], ["span", "what", event.text]];
  if (event.count > 1) parts.push(["span", "count", `×${event.count}`]);
  item.replaceChildren(...parts.map(([tag, name, text]) => {
    const part = document.createElement(tag);
    part.className = name;
    setText(part, text);
    return part;
  }));
}

function connect() {
  const link = byId("link");
  const say = (state, text) => {
    link.dataset.state = state;
    setText(link, text);
  };
  const source = new EventSource("api/stream");
  source.addEventListener("history", message => {
    const history = JSON.parse(message.data);
    byId("events").replaceChildren();
    history.events.forEach(showEvent);
    for (const [name, samples] of Object.entries(history.samples)) {
      if (!pools.has(name)) pools.set(name, new Pool(name));
      pools.get(name).charts.show(samples);
    }
    say("live", "live");
  });
  source.addEventListener("pools", message => showPools(JSON.parse(message.data)));
  source.addEventListener("event", message => showEvent(JSON.parse(message.data)));
  source.addEventListener("error", () => {
    say("lost", "no connection, trying again …");
    // A browser gives up for good when something else answers in the listener's place.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 1000);
  });
}

function lock() {
  sessionStorage.removeItem(TOKEN);
  for (const details of document.querySelectorAll(".operations")) details.hidden = true;
  byId("lock").hidden = true;
}

byId("unlock").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value);
  byId("token").value = "";
  pools.forEach(pool => pool.view && pool.show(pool.view));
  byId("lock").hidden = false;
});
byId("lock").addEventListener("click", lock);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => pools.forEach(pool => pool.charts.draw()));
document.addEventListener("visibilitychange", () => pools.forEach(pool => pool.charts.update()));
connect();
