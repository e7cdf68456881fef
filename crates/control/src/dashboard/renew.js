"use strict";
(() => {
  const content = document.getElementById("content");
  const alarm = document.getElementById("alarm");
  const age = document.getElementById("age");
  let answered = Date.now();
  let timer = 0;
  let asking = false;

  // Only sections that changed are replaced; what is open stays open, what is focused stays focused.
  function show(text) {
    const fresh = document.createElement("template");
    fresh.innerHTML = text;
    const next = [...fresh.content.children];
    const now = [...content.children];
    const open = new Set([...content.querySelectorAll("details[open]")].map((d) => d.id));
    const closed = new Set([...content.querySelectorAll("details:not([open])")].map((d) => d.id));
    for (const details of fresh.content.querySelectorAll("details")) {
      if (open.has(details.id)) details.open = true;
      if (closed.has(details.id)) details.open = false;
    }
    offerCopies(fresh.content);
    const focused = document.activeElement;
    const same = now.length === next.length && now.every((n, i) => n.id === next[i].id);
    if (!same) {
      content.replaceChildren(...next);
    } else {
      now.forEach((n, i) => {
        if (n.outerHTML === next[i].outerHTML) return;
        const path = n.contains(focused) ? pathOf(n, focused) : null;
        n.replaceWith(next[i]);
        if (path) follow(next[i], path, focused.tagName)?.focus({ preventScroll: true });
      });
    }
  }

  // An element by its places below a section.
  function pathOf(from, element) {
    const path = [];
    for (let e = element; e !== from; e = e.parentElement) {
      path.unshift([...e.parentElement.children].indexOf(e));
    }
    return path;
  }

  function follow(from, path, tag) {
    const found = path.reduce((e, place) => e?.children[place], from);
    return found?.tagName === tag ? found : null;
  }

  function offerCopies(root) {
    if (!navigator.clipboard) return;
    for (const button of root.querySelectorAll("button[data-copy]")) button.hidden = false;
  }

  content.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "copied";
    } catch {
      button.textContent = "select it";
    }
  });

  function alert(on) {
    if (on) age.textContent = Math.round((Date.now() - answered) / 1000) + " s old";
    alarm.hidden = !on;
    document.body.classList.toggle("stale", on);
    document.title = on ? "! Ficus does not answer" : "Ficus";
  }

  async function renew() {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch("fragment", { cache: "no-store", signal: AbortSignal.timeout(3000) });
      if (!answer.ok) throw new Error(answer.statusText);
      const text = await answer.text();
      answered = Date.now();
      // somebody is selecting text: leave it alone
      if (getSelection().isCollapsed) show(text);
      alert(false);
    } catch {
      alert(true);
    }
    asking = false;
    if (!document.hidden) timer = setTimeout(renew, 1000);
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) renew();
  });
  offerCopies(content);
  timer = setTimeout(renew, 1000);
})();
