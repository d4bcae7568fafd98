"use strict";
(function () {
  var button = document.getElementById("all-code");
  var blocks = document.querySelectorAll("details.code");
  if (!button || !blocks.length) { return; }
  button.hidden = false;
  button.addEventListener("click", function () {
    var open = button.getAttribute("aria-pressed") !== "true";
    blocks.forEach(function (block) { block.open = open; });
    button.setAttribute("aria-pressed", String(open));
    button.textContent = open ? "Fold all code" : "Show all code";
  });
}());
