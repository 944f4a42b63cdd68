// Everything works without this: a browser opens the details around a link's target by itself, if it is recent.
const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.localName === "details") at.open = true;
  target.scrollIntoView({ block: "center" });
  target.focus({ preventScroll: true });
};
addEventListener("hashchange", reveal);
reveal();
