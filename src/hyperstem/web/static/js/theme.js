// Applies the chosen theme before the page is first drawn; loaded in the head, so no module.
(() => {
  const themes = ["auto", "light", "dark"];
  const root = document.documentElement;
  const read = () => {
    try { return localStorage.getItem("theme") || "auto"; } catch { return "auto"; }
  };
  const apply = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    const name = document.getElementById("theme-name");
    if (name) name.textContent = theme;
    document.dispatchEvent(new Event("themechange"));
  };
  apply(read());
  document.addEventListener("DOMContentLoaded", () => {
    apply(read());
    document.getElementById("theme-button")?.addEventListener("click", () => {
      const next = themes[(themes.indexOf(read()) + 1) % themes.length];
      try { localStorage.setItem("theme", next); } catch { /* a private window: the choice holds for this page only */ }
      apply(next);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));
  });
})();
