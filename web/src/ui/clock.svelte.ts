// A slow clock for what counts up on the page: ages and waits.

const state = $state({ now: performance.now() });
setInterval(() => {
  if (!document.hidden) state.now = performance.now();
}, 250);

/** slowNow is performance.now(), four times a second. */
export function slowNow(): number {
  return state.now;
}
