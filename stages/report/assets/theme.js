// Light or dark: as the system is, until the button says otherwise. Runs before the page is drawn.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => { try { return localStorage.getItem("referee-theme"); } catch { return null; } };
  const show = () => {
    root.dataset.theme = kept() || root.dataset.asked || (system.matches ? "dark" : "light");
    const button = document.getElementById("theme");
    if (button) button.textContent = root.dataset.theme === "dark" ? "Light" : "Dark";
  };
  show();
  system.addEventListener("change", show);
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      const next = root.dataset.theme === "dark" ? "light" : "dark";
      root.dataset.asked = next; // where nothing can be kept, for this page alone
      try { localStorage.setItem("referee-theme", next); } catch { /* a browser may forbid it for files */ }
      show();
    });
  });
})();
