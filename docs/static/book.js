// The knobs of a lesson. Each position was computed when the book was built, and waits in a template.
document.addEventListener("DOMContentLoaded", () => {
  for (const knob of document.querySelectorAll(".knob")) {
    const controls = [...knob.querySelectorAll("input, select")];
    const show = () => {
      for (const slider of controls.filter((each) => each.type === "range")) {
        const words = JSON.parse(slider.dataset.words)[slider.value];
        slider.setAttribute("aria-valuetext", words);
        slider.nextElementSibling.value = words;
      }
      const at = controls.map((each) => each.value).join(" ");
      const chosen = knob.querySelector(`template[data-at="${at}"]`);
      knob.querySelector("[role=status]").innerHTML = chosen.innerHTML;
    };
    knob.querySelector(".still").remove(); // said to those without a script
    knob.querySelectorAll(".moved").forEach((each) => (each.hidden = false));
    controls.forEach((each) => each.addEventListener("input", show));
  }
});
