// Applies the chosen theme before the page is first drawn; loaded in the head, so not a module.
(() => {
  const themes = ["auto", "light", "dark"];
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const read = () => {
    try { return localStorage.getItem("theme") || "auto"; } catch { return "auto"; }
  };
  const apply = (theme) => {
    root.dataset.theme = theme !== "auto" ? theme : dark.matches ? "dark" : "light";
    const name = document.getElementById("theme-name");
    if (name) name.textContent = theme;
    document.dispatchEvent(new Event("themechange"));
  };
  apply(read());
  document.addEventListener("DOMContentLoaded", () => {
    apply(read());
    document.getElementById("theme-button")?.addEventListener("click", () => {
      const next = themes[(themes.indexOf(read()) + 1) % themes.length];
      try { localStorage.setItem("theme", next); } catch { /* a private window: only this page keeps the choice */ }
      apply(next);
    });
    dark.addEventListener("change", () => apply(read()));
  });
})();
