// Before anything is drawn: the theme that the reader has chosen, if any.
(() => {
  try {
    const theme = localStorage.getItem("flowstore.theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch (_) {} // a browser that keeps nothing
})();
