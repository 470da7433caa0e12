// Puts our page into Locust's empty tab "Auth cache", and helps with the fields of the start form.
"use strict";

(() => {
  const ours = (window.templateArgs || {}).auth_cache;
  if (!ours) return;
  const TITLE = "Auth cache";
  let frame = null;
  let opened = false;
  let shownError = "";

  function isDark() {
    const parts = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g) || [255, 255, 255];
    return parts.slice(0, 3).reduce((sum, part) => sum + Number(part), 0) < 384;
  }

  function adopt() {
    const inner = frame.contentDocument;
    if (!inner || !inner.body || !inner.body.firstElementChild) return;
    inner.documentElement.dataset.theme = isDark() ? "dark" : "light";
    inner.documentElement.dataset.framed = "yes";
    const height = Math.ceil(inner.body.getBoundingClientRect().height) + 8;
    if (frame.style.height !== `${height}px`) frame.style.height = `${height}px`;
  }

  function showTab() {
    const selected = document.querySelector('[role="tab"][aria-selected="true"]');
    const wanted = selected !== null && selected.textContent.trim() === TITLE;
    if (!wanted) {
      if (frame) frame.remove();
      frame = null;
      return;
    }
    if (frame && frame.isConnected) return;
    const bar = selected.closest(".MuiTabs-root");
    const place = bar.closest(".MuiBox-root") || bar;
    frame = document.createElement("iframe");
    frame.className = "auth-cache-frame";
    frame.title = TITLE;
    frame.src = ours.base;
    const own = frame;
    frame.addEventListener("load", () => {
      adopt();
      new ResizeObserver(() => own === frame && adopt()).observe(own.contentDocument.body);
    });
    place.after(frame);
  }

  function setValue(field, value) {
    // React keeps the value of some fields itself and only listens to the browser's own setter
    const kind = field instanceof HTMLSelectElement ? HTMLSelectElement : HTMLInputElement;
    Object.getOwnPropertyDescriptor(kind.prototype, "value").set.call(field, value);
    field.dispatchEvent(new Event(field instanceof HTMLSelectElement ? "change" : "input", { bubbles: true }));
  }

  const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());

  function fillIn(preset) {
    for (const [name, value] of Object.entries(ours.presets[preset] || {})) {
      const field = document.querySelector(`form [name="${camel(name)}"]`);
      if (field) setValue(field, String(value));
    }
  }

  function helpForm() {
    const preset = document.querySelector('form select[name="preset"]');
    if (!preset) {
      opened = false;
      return;
    }
    if (!preset.dataset.helped) {
      preset.dataset.helped = "yes";
      preset.addEventListener("change", () => fillIn(preset.value));
    }
    const fold = preset.closest(".MuiAccordion-root");
    const head = fold && fold.querySelector(".MuiAccordionSummary-root");
    if (head && !opened) {
      // once: a person may close it again
      opened = true;
      if (head.getAttribute("aria-expanded") === "false") head.click();
    }
  }

  function showError() {
    const error = document.querySelector("form .MuiAlert-root");
    if (error && error.textContent !== shownError) error.scrollIntoView({ block: "center" });
    shownError = error ? error.textContent : "";
  }

  let waiting = false;
  function look() {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      showTab();
      helpForm();
      showError();
      if (frame) adopt();
    }, 50);
  }

  document.documentElement.classList.toggle("auth-cache-fixed-hosts", ours.fixed_hosts);
  new MutationObserver(look).observe(document.body, { attributes: true, childList: true, subtree: true });
  look();
})();
