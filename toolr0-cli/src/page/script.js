"use strict";
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  // The browser's own tooltips come late and not on a phone.
  for (const hit of document.querySelectorAll(".hit")) {
    const title = hit.querySelector("title");
    if (!title) continue;
    hit.dataset.tip = title.textContent;
    title.remove();
  }
  const show = (event) => {
    const hit = event.target instanceof Element && event.target.closest(".hit");
    tip.hidden = !hit;
    if (!hit) return;
    tip.textContent = hit.dataset.tip;
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18;
    const fits = below + tip.offsetHeight < innerHeight;
    tip.style.left = Math.max(8, x) + "px";
    tip.style.top = (fits ? below : event.clientY - tip.offsetHeight - 12) + "px";
  };
  addEventListener("pointermove", show);
  addEventListener("pointerdown", show);
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  const iteration = document.getElementById("iteration");
  const find = document.getElementById("find");
  if (!iteration) return;
  const filter = () => {
    const words = find.value.toLowerCase();
    for (const task of document.querySelectorAll(".task")) {
      const here = !iteration.value || task.dataset.iteration === iteration.value;
      task.hidden = !here || !task.textContent.toLowerCase().includes(words);
    }
  };
  iteration.addEventListener("change", filter);
  find.addEventListener("input", filter);
})();
