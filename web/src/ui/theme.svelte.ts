// Light, dark, or as the system says. The canvas palette follows `changes`.

export type Theme = "light" | "dark";

const key = "kernelviz.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
let current = $state.raw(initial());

function initial(): Theme {
  const saved = localStorage.getItem(key);
  if (saved === "light" || saved === "dark") return saved;
  return system.matches ? "dark" : "light";
}

export function theme(): Theme {
  return current;
}

/** toggleTheme changes and remembers; the system is followed until then. */
export function toggleTheme(): void {
  current = current === "dark" ? "light" : "dark";
  localStorage.setItem(key, current);
  apply();
}

export function startTheme(): void {
  apply();
  system.addEventListener("change", () => {
    if (localStorage.getItem(key)) return;
    current = initial();
    apply();
  });
}

function apply(): void {
  document.documentElement.dataset["theme"] = current;
}
