// What changes while a page is open: by a stream of events, or by asking every few seconds where there is none.
"use strict";
(() => {
  const root = document.documentElement, { one, all, times } = globalThis.flowstore;
  if (!root.dataset.events) return;
  const EVERY = 5000, MOST = 25;
  const list = one("#list"), fresh = one("#fresh"), isRows = root.dataset.shows === "rows" && list && fresh;
  const statuses = isRows ? list.dataset.statuses.split(" ") : [];
  const news = new Set();
  let stream = null, polling = null, last = "", due = null, isBusy = false, pause = 0, ended = 0, cutOff = null, dirty = new Set(), isMany = false;

  const state = (how) => { root.dataset.live = how; const shown = one("[data-live-state]"); if (shown) { shown.hidden = false; shown.textContent = how === "on" ? "live" : how === "poll" ? "every 5 s" : how === "out" ? "signed out" : "paused"; } };
  const rowOf = (id) => one(`#list tr[data-task="${CSS.escape(id)}"]`);
  const get = async (address) => {
    const answer = await fetch(address, { headers: { accept: "text/html" }, cache: "no-store" });
    if (answer.status === 401) { close(); state("out"); } // until somebody signs in again
    if (!answer.ok) throw new Error("status " + answer.status);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  };

  // What somebody is working with stays as it is: a field with the focus or a change, what is folded out
  const isTouched = (each) => each === document.activeElement && each.matches("input, textarea, select")
    || each.matches("input") && (each.checked !== each.defaultChecked || each.type !== "checkbox" && each.type !== "radio" && each.value !== each.defaultValue)
    || each.matches("textarea") && each.value !== each.defaultValue;
  const callbacks = {
    beforeNodeMorphed: (old) => !(old instanceof Element && (isTouched(old) || old.matches("dialog[open]"))),
    beforeAttributeUpdated: (name, old) => !(name === "open" && old.localName === "details" || name === "class" && old.classList.contains("current")),
    beforeNodeRemoved: (old) => !(old instanceof Element && old.contains(document.activeElement) && document.activeElement !== document.body),
  };
  const morph = (old, next) => Idiomorph.morph(old, next, { morphStyle: "outerHTML", ignoreActiveValue: true, restoreFocus: true, callbacks });
  function flash(row) {
    row.classList.remove("changed");
    void row.offsetWidth;
    row.classList.add("changed");
  }
  function renew(next) {
    const row = rowOf(next.dataset.task);
    if (!row) return;
    const isNew = row.dataset.version !== next.dataset.version;
    if (row.classList.contains("current")) next.classList.add("current");
    morph(row, next);
    const now = rowOf(next.dataset.task);
    times(now);
    if (isNew) flash(now);
  }

  // The list: rows stay where they are, and what is new is counted
  function note(id, status) {
    const [name, submitted] = status, isTop = submitted >= Number(list.dataset.newest); // null is 0
    if (rowOf(id)) dirty.add(id);
    else if (list.dataset.newest !== undefined && statuses.includes(name) && isTop) news.add(id);
    else news.delete(id);
  }
  function told() {
    if (!news.size && !isMany) return;
    const text = isMany ? "Many changes: show them" : `${news.size.toLocaleString("en")} new`;
    const link = fresh.querySelector("a");
    if (link.textContent === text) return;
    link.textContent = text;
    fresh.hidden = false; // it is in a live region
  }
  async function rows() {
    const ids = [...dirty];
    dirty = new Set();
    for (let from = 0; from < ids.length; from += MOST) {
      const address = new URL(list.dataset.rows, location.href);
      for (const id of ids.slice(from, from + MOST)) address.searchParams.append("id", id);
      if (one("#list input[name=id]")) address.searchParams.set("selects", "1");
      for (const next of all("tr[data-task]", await get(address))) renew(next);
    }
  }
  // Everything: without a stream, after a break, and on pages that are no lists
  async function everything() {
    const page = await get(location.href);
    if (!isRows) {
      const next = page.querySelector("main");
      if (next) { morph(one("main"), next); times(); }
      return;
    }
    for (const next of all("#list tr[data-task]", page)) {
      if (rowOf(next.dataset.task)) renew(next);
      else if (list.dataset.newest !== undefined) news.add(next.dataset.task);
    }
    isMany = false;
    told();
  }
  async function work(isAll) {
    if (isBusy) return soon();
    isBusy = true;
    try {
      if (isRows && !isAll && !isMany) { await rows(); told(); } else { dirty = new Set(); await everything(); }
    } catch (_) { // the store or the network is away; what is shown stays, and it is tried again
      if (!polling && root.dataset.live !== "out") soon();
    } finally { isBusy = false; ended = Date.now(); }
  }
  // Where changes never stop, the pauses between two looks grow, so that many open pages are no burden
  function soon() {
    if (due !== null) return;
    const isSmall = isRows && !isMany, least = isSmall ? 100 : 1000, most = isSmall ? 5000 : 30000;
    const quiet = Date.now() - ended;
    pause = quiet > 2 * pause + 2000 ? least : Math.min(most, Math.max(least, 1.5 * pause));
    due = setTimeout(() => { due = null; work(false); }, Math.max(50, pause - quiet));
  }

  function poll() {
    if (polling) return;
    state("poll");
    polling = setInterval(() => { work(true); if (!stream) open(); }, EVERY);
  }
  function open() {
    const address = new URL(root.dataset.events, location.href);
    if (last) address.searchParams.set("last", last);
    const opened = stream = new EventSource(address);
    opened.addEventListener("open", () => {
      clearInterval(polling);
      clearTimeout(cutOff);
      polling = cutOff = null;
      state("on");
    });
    opened.addEventListener("changes", (event) => {
      last = event.lastEventId;
      const { ids, many } = JSON.parse(event.data);
      if (isRows) { for (const id of Object.keys(ids)) note(id, ids[id]); isMany = isMany || !!many; }
      if (many || (isRows ? dirty.size : Object.keys(ids).length)) soon();
      if (isRows) told();
    });
    opened.addEventListener("error", () => {
      if (opened.readyState === EventSource.CLOSED) { stream = null; poll(); return; }
      if (!polling) state("off");
      if (cutOff === null) cutOff = setTimeout(poll, 8000); // the browser tries again, and may do so for ever
    });
  }
  function close() {
    if (stream) stream.close();
    clearInterval(polling);
    clearTimeout(cutOff);
    stream = polling = cutOff = null;
    state("off");
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else { open(); work(true); }
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) { open(); work(true); } });
  if (!document.hidden) open();
})();
