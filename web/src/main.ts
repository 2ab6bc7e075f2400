import { mount } from "svelte";
import App from "./App.svelte";
import { isLang, setLang, t } from "./i18n/index.svelte";
import { RequestError } from "./net/client";
import "./styles/tokens.css";
import "./styles/base.css";
import { followAddress, route } from "./ui/place.svelte";
import { langOf } from "./ui/route";
import { session } from "./ui/session.svelte";
import { startTheme } from "./ui/theme.svelte";

async function start(): Promise<void> {
  startTheme();
  const wanted = [langOf(route()), localStorage.getItem("kernelviz.lang"), navigator.language.slice(0, 2)];
  await setLang(wanted.find(isLang) ?? "en");
  followAddress();
  addEventListener("unhandledrejection", (e) => {
    if (!/import|module/i.test(String(e.reason))) return;
    session.report(new RequestError("page", t("problem.page"), t("problem.page.fix")));
  });
  session.client.open();
  document.addEventListener("visibilitychange", () => session.client.visible(!document.hidden));
  const target = document.getElementById("app");
  if (!target) throw new Error("index.html has no #app");
  mount(App, { target });
}

void start();
