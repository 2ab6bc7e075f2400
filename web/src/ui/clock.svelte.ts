// A slow clock for what counts up on the page: ages and waits.

let now = $state.raw(performance.now());
setInterval(() => {
  if (!document.hidden) now = performance.now();
}, 250);

/** slowNow is performance.now(), four times a second. */
export function slowNow(): number {
  return now;
}
