"use strict";

for (const button of document.querySelectorAll("[data-copies]")) {
  const source = document.getElementById(button.dataset.copies);
  const label = button.firstChild;
  const text = label.data;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    label.data = "Copied";
    setTimeout(() => { label.data = text; }, 1500);
  });
}
