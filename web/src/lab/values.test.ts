// @vitest-environment jsdom
import { describe, expect, it } from "vitest";
import { fill, fillText, settle } from "./values";

const html = (s: string): HTMLElement => {
  const el = document.createElement("div");
  el.innerHTML = s;
  return el;
};

describe("live values", () => {
  it("stand in text", () => {
    expect(fillText("cat /proc/{{1}}/fdinfo/{{0}} {{7}}", ["3", "4211"])).toBe("cat /proc/4211/fdinfo/3 …");
    expect(fillText("{{$&}} {{x}}", ["$1"])).toBe("{{$&}} {{x}}");
    expect(fillText("{{0}}", ["$&"])).toBe("$&");
  });

  it("are text in HTML, never HTML, and touch nothing that did not change", () => {
    const el = html('<p><output data-value="0"></output> of <output data-value="5">x</output><b>b</b></p>');
    const bold = el.querySelector("b");
    fill(el, ["<i>4</i>"]);
    const [first, second] = el.querySelectorAll("output");
    expect(first!.textContent).toBe("<i>4</i>");
    expect(first!.children).toHaveLength(0);
    expect(second!.textContent).toBe("…");
    const node = first!.firstChild;
    fill(el, ["<i>4</i>"]);
    expect(first!.firstChild).toBe(node);
    expect(el.querySelector("b")).toBe(bold);
  });
});

describe("fresh HTML of a lesson", () => {
  it("leads to lessons in this page, and to the web in another", () => {
    const el = html('<a href="lab:epoll-ready">r</a><a href="https://man7.org/">m</a><a href="#x">x</a>');
    settle(el);
    const [lab, web, here] = el.querySelectorAll("a");
    expect(lab!.getAttribute("href")).toBe("#/lab/epoll-ready");
    expect([web!.target, web!.rel]).toEqual(["_blank", "noopener noreferrer"]);
    expect([here!.getAttribute("href"), here!.target]).toEqual(["#x", ""]);
  });

  it("keeps values quiet and code within reach of the keyboard", () => {
    const el = html('<output data-value="0"></output><pre>x</pre>');
    settle(el);
    expect(el.querySelector("output")?.getAttribute("aria-live")).toBe("off");
    expect(el.querySelector("pre")?.tabIndex).toBe(0);
  });
});
