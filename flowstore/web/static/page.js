// What a page can do with script; without it, every page works all the same.
"use strict";
(() => {
  const root = document.documentElement;
  const kept = {
    get(name) { try { return localStorage.getItem("flowstore." + name); } catch (_) { return null; } },
    set(name, value) { try { localStorage.setItem("flowstore." + name, value); } catch (_) {} },
  };
  const one = (selector) => document.querySelector(selector);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const say = (text) => { const said = one("[data-said]"); if (said) said.textContent = text; };

  // Times, in the zone of the reader
  const two = (number) => String(number).padStart(2, "0");
  const isUtc = () => kept.get("utc") === "1";
  function exact(at) {
    if (isUtc()) return at.toISOString().slice(0, 19).replace("T", " ") + " UTC";
    return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  }
  function ago(at) {
    const seconds = (Date.now() - at.getTime()) / 1000, size = Math.abs(seconds);
    if (size < 1) return "now";
    const [length, unit] = size >= 86400 ? [86400, "d"] : size >= 3600 ? [3600, "h"] : size >= 60 ? [60, "m"] : [1, "s"];
    const age = Math.floor(size / length).toLocaleString("en") + unit;
    return seconds > 0 ? age + " ago" : "in " + age;
  }
  function times(inside = document) {
    for (const each of all("time[data-as]", inside)) {
      const at = new Date(each.dateTime);
      const text = each.dataset.as === "ago" ? ago(at) : exact(at);
      if (each.textContent !== text) each.textContent = text;
      each.title = exact(at);
    }
    for (const each of all("text[data-at]", inside)) { // along the bottom of charts
      const at = new Date(each.dataset.at), isDay = /^\D+ \d+$/.test(each.textContent);
      const day = at.toLocaleDateString("en", { month: "short", day: "2-digit", timeZone: isUtc() ? "UTC" : undefined });
      const hour = isUtc() ? at.toISOString().slice(11, 16) : `${two(at.getHours())}:${two(at.getMinutes())}`;
      each.textContent = isDay ? day : /^\D/.test(each.textContent) ? `${day} ${hour}` : hour;
    }
  }

  const deeds = {
    utc(button) { kept.set("utc", isUtc() ? "0" : "1"); button.setAttribute("aria-pressed", isUtc()); times(); },
    theme() {
      const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = isDark ? "light" : "dark";
      kept.set("theme", root.dataset.theme);
    },
    keys() { help(); },
  };
  for (const button of all("[data-do]")) {
    button.hidden = false;
    button.addEventListener("click", () => deeds[button.dataset.do](button));
    if (button.dataset.do === "utc") button.setAttribute("aria-pressed", isUtc());
  }

  // Keys: off while something is typed, and switched off by one setting
  const KEYS = [["/", "find tasks"], ["j k", "next, previous row"], ["enter", "open the row"], ["x", "choose the row"],
    ["n p", "older, newer page"], ["e w", "errors, workers"], ["r c .", "requeue, cancel, raw, where a task is shown"], ["g then h t r e n w o s", "overview, tasks, runs, errors, names, workers, operations, system"],
    ["t", "dark or light"], ["u", "UTC or local time"], ["?", "these keys"]];
  let dialog = null, waiting = null;
  function help() {
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.setAttribute("aria-label", "Keys");
      const list = document.createElement("dl");
      list.className = "facts";
      for (const [keys, text] of KEYS) {
        const key = document.createElement("dt"), what = document.createElement("dd"), name = document.createElement("kbd");
        name.textContent = keys; key.append(name); what.textContent = text; list.append(key, what);
      }
      const toggle = document.createElement("label"), box = document.createElement("input"), close = document.createElement("button");
      box.type = "checkbox"; box.checked = kept.get("keys") !== "0";
      box.addEventListener("change", () => kept.set("keys", box.checked ? "1" : "0"));
      toggle.append(box, " Keys are on");
      close.textContent = "Close"; close.addEventListener("click", () => dialog.close());
      dialog.append(list, toggle, " ", close);
      document.body.append(dialog);
    }
    dialog.showModal();
  }
  const rows = () => all("tr[data-task]");
  function move(step) {
    const list = rows();
    if (!list.length) return;
    const at = list.findIndex((row) => row.classList.contains("current"));
    const next = list[Math.min(list.length - 1, Math.max(0, at + step))];
    list.forEach((row) => row.classList.toggle("current", row === next));
    next.scrollIntoView({ block: "nearest" });
    say(next.innerText);
  }
  const current = () => one("tr.current");
  const follow = (link) => { if (link) link.click(); };
  const actions = {
    "/": () => one("#find").select(), j: () => move(1), k: () => move(-1), "?": help,
    Enter: () => follow(current() && current().querySelector("a.name")),
    x: () => { const box = current() && current().querySelector("input[type=checkbox]"); if (box) box.click(); },
    e: () => follow(one('nav a[data-keys="g e"]')), w: () => follow(one('nav a[data-keys="g w"]')),
    n: () => follow(one("a[rel=next]")), p: () => follow(one("a[rel=prev]")), t: deeds.theme, u: () => one("[data-do=utc]").click(),
  };
  document.addEventListener("keydown", (event) => {
    const typed = event.target.closest("input, textarea, select, [contenteditable], dialog");
    if (typed) { if (event.key === "Escape" && typed.matches("input")) typed.blur(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || (kept.get("keys") === "0" && event.key !== "?")) return;
    if (event.key === "Enter" && event.target !== document.body && event.target.id !== "main") return;
    if (waiting) {
      clearTimeout(waiting); waiting = null;
      follow(one(`nav a[data-keys="g ${CSS.escape(event.key)}"]`));
    } else if (event.key === "g") {
      waiting = setTimeout(() => { waiting = null; }, 1000);
    } else if (one(`[data-key="${CSS.escape(event.key)}"]`)) { // what a page has a key of its own for
      event.preventDefault();
      one(`[data-key="${CSS.escape(event.key)}"]`).click();
    } else if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
  });

  // Suggestions for the query, and a row of boxes chosen with shift
  const find = one("#find"), terms = one("#find-terms");
  let asking = null;
  if (find && terms) find.addEventListener("input", () => {
    clearTimeout(asking);
    asking = setTimeout(async () => {
      const address = new URL(root.dataset.base + "suggest", location.href);
      address.searchParams.set("q", find.value.slice(0, find.selectionStart));
      const space = new URLSearchParams(location.search).get("namespace");
      if (space) address.searchParams.set("namespace", space);
      try {
        const answer = await fetch(address);
        if (!answer.ok) return;
        terms.replaceChildren(...(await answer.json()).map((text) => Object.assign(document.createElement("option"), { value: text })));
      } catch (_) {} // it is a help, and no more
    }, 150);
  });
  let lastBox = null;
  document.addEventListener("click", (event) => {
    const box = event.target;
    if (!(box instanceof HTMLInputElement) || box.name !== "id" || box.type !== "checkbox") return;
    const boxes = all("input[type=checkbox][name=id]"), here = boxes.indexOf(box), there = boxes.indexOf(lastBox);
    if (event.shiftKey && there >= 0)
      boxes.slice(Math.min(here, there), Math.max(here, there) + 1).forEach((each) => { each.checked = box.checked; });
    lastBox = box;
  });

  times();
  setInterval(times, 10000);
  globalThis.flowstore = { all, ago, exact, kept, one, say, times };
})();
