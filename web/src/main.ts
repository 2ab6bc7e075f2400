import { mount } from "svelte";
import App from "./App.svelte";
import { isLang, setLang } from "./i18n/index.svelte";
import "./styles/tokens.css";
import "./styles/base.css";
import { followAddress, route } from "./ui/place.svelte";
import { session } from "./ui/session.svelte";
import { startTheme } from "./ui/theme.svelte";

async function start(): Promise<void> {
  startTheme();
  const r = route();
  const wanted = [
    r.page === "home" ? r.lang : r.look.lang,
    localStorage.getItem("kernelviz.lang"),
    navigator.language.slice(0, 2),
  ];
  await setLang(wanted.find(isLang) ?? "en");
  followAddress();
  session.client.open();
  document.addEventListener("visibilitychange", () => session.client.visible(!document.hidden));
  const target = document.getElementById("app");
  if (!target) throw new Error("index.html has no #app");
  mount(App, { target });
}

void start();
