"use strict";

// A double click sends a form once.
document.addEventListener("submit", (event) => {
  setTimeout(() => {
    for (const button of event.target.querySelectorAll("button[type=submit]")) button.disabled = true;
  });
});
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button[type=submit]")) button.disabled = false;
});

// On a narrow screen the navigation scrolls sideways: show the entry of this page.
const current = document.querySelector(".sections a[aria-current]");
const list = document.querySelector(".sections ul");
if (current !== null && list !== null) list.scrollLeft = current.offsetLeft - 16;
