// Elements without a framework: made once, then changed only where something differs.

/** Makes an element: `h("td.num", {title: "…"}, "text", child)`. */
export function h(spec, attributes = {}, ...children) {
  const [tag, ...classes] = spec.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length > 0) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else attribute(element, name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Sets a text where it differs. */
export function text(element, value) {
  const string = String(value ?? "");
  if (element.textContent !== string) element.textContent = string;
}

/** Sets an attribute where it differs; null, undefined and false take it away. */
export function attribute(element, name, value) {
  if (value == null || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const string = value === true ? "" : String(value);
  if (element.getAttribute(name) !== string) element.setAttribute(name, string);
}

export function hide(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

/**
 * Keeps the children of `parent` equal to `items`, in order: `make(item)` → {element, update(item)} once for each key, then
 * `update` whenever it is drawn. Elements that stay keep the focus.
 */
export class KeyedList {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.nodes = new Map();
  }

  draw(items, keyOf) {
    const focused = this.parent.contains(document.activeElement) ? document.activeElement : null;
    const wanted = new Set();
    const order = items.map((item) => {
      const key = keyOf(item);
      wanted.add(key);
      let node = this.nodes.get(key);
      if (!node) {
        node = this.make(item);
        this.nodes.set(key, node);
      }
      node.update(item);
      return node.element;
    });
    for (const [key, node] of this.nodes) {
      if (wanted.has(key)) continue;
      node.element.remove();
      this.nodes.delete(key);
    }
    let place = this.parent.firstElementChild;
    for (const element of order) {
      if (element === place) place = place.nextElementSibling;
      else this.parent.insertBefore(element, place);
    }
    // An element that is moved loses the focus.
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  }
}

/** Up, down, Home and End move the focus among the elements that match `selector` inside `container`. */
export function arrowKeys(container, selector) {
  container.addEventListener("keydown", (event) => {
    const items = [...container.querySelectorAll(selector)].filter((item) => item.offsetParent !== null);
    const at = items.indexOf(event.target.closest(selector));
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    items[Math.max(0, Math.min(items.length - 1, to))].focus();
  });
}
