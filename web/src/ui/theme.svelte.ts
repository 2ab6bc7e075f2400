// Light, dark, or as the system says. The canvas palette follows `changes`.

export type Theme = "light" | "dark";

const key = "kernelviz.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const state = $state({ theme: initial() });

function initial(): Theme {
  const saved = localStorage.getItem(key);
  if (saved === "light" || saved === "dark") return saved;
  return system.matches ? "dark" : "light";
}

export function theme(): Theme {
  return state.theme;
}

/** toggleTheme changes and remembers; the system is followed until then. */
export function toggleTheme(): void {
  state.theme = state.theme === "dark" ? "light" : "dark";
  localStorage.setItem(key, state.theme);
  apply();
}

export function startTheme(): void {
  apply();
  system.addEventListener("change", () => {
    if (localStorage.getItem(key)) return;
    state.theme = initial();
    apply();
  });
}

function apply(): void {
  document.documentElement.dataset["theme"] = state.theme;
}
