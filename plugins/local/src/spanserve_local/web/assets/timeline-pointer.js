// How a pointer moves the timeline: drags, clicks and the wheel.

import { useEffect, useRef } from "./vendor/preact.js";
import { go } from "./route.js";
import { hit, OVERVIEW, unscale } from "./timeline-canvas.js";

const SHORTEST_MS = 0.05;

/** A window longer or shorter by a factor, about a moment that stays where it is. */
export function zoomed(view, factor, at) {
  const length = Math.max(SHORTEST_MS, (view.to - view.from) * factor);
  const share = (at - view.from) / (view.to - view.from);
  return { from: at - length * share, to: at + length * (1 - share) };
}

/** Dragging: the overview and the ruler mark a stretch to zoom to; below, it moves the window. */
export function usePointer({ canvas, model, view, shape, onLook, setCursor, setChosen, kept }) {
  const drag = useRef(null);
  const place = (event) => {
    const box = canvas.current.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const whole = { from: model.from, to: model.to };
  useWheel(canvas, (event) => {
    const [x, y] = place(event);
    if (event.ctrlKey || event.metaKey) {
      onLook(
        zoomed(view, 1.0015 ** event.deltaY, unscale(y < OVERVIEW ? whole : view, shape.width)(x)),
      );
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const by = ((event.deltaX || event.deltaY) / shape.width) * (view.to - view.from);
      onLook({ from: view.from + by, to: view.to + by });
    } else return;
    event.preventDefault();
  });
  return {
    onPointerDown: (event) => {
      if (event.button) return;
      const [x, y] = place(event);
      const kind = y < OVERVIEW ? "overview" : y < shape.lane ? "ruler" : "body";
      drag.current = { kind, x, y, view, moved: false };
      event.currentTarget.setPointerCapture(event.pointerId);
    },
    onPointerMove: (event) => {
      const [x, y] = place(event);
      const at = drag.current;
      if (!at) {
        setCursor(y < OVERVIEW ? null : unscale(view, shape.width)(x));
        if (!kept)
          setChosen({ ...(hit(shape, view, x, y) ?? { block: null, request: null }), kept: false });
        return;
      }
      at.moved ||= Math.abs(x - at.x) > 3;
      if (!at.moved) return;
      if (at.kind === "body") {
        const by = ((at.x - x) / shape.width) * (at.view.to - at.view.from);
        onLook({ from: at.view.from + by, to: at.view.to + by });
      } else if (at.kind === "overview") {
        const to = unscale(whole, shape.width);
        onLook(ordered(to(at.x), to(x)));
      } else {
        setCursor(unscale(at.view, shape.width)(x));
      }
    },
    onPointerUp: (event) => {
      const [x, y] = place(event);
      const at = drag.current;
      drag.current = null;
      if (!at) return;
      if (!at.moved && at.kind === "overview") {
        const middle = unscale(whole, shape.width)(x);
        const half = (view.to - view.from) / 2;
        onLook({ from: middle - half, to: middle + half });
      } else if (!at.moved) {
        const found = hit(shape, view, x, y);
        setChosen(found ? { ...found, kept: true } : { block: null, request: null, kept: false });
      } else if (at.kind === "ruler") {
        const to = unscale(at.view, shape.width);
        onLook(ordered(to(at.x), to(x)));
      }
    },
    onPointerLeave: () => {
      setCursor(null);
      if (!kept) setChosen({ block: null, request: null, kept: false });
    },
    onDblClick: (event) => {
      const [x, y] = place(event);
      const found = hit(shape, view, x, y);
      if (found) go({ trace: (found.request ?? found.block).trace_id });
    },
  };
}

/** A listener that may keep the page from scrolling. */
function useWheel(canvas, act) {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    const target = canvas.current;
    const hear = (event) => latest.current(event);
    target.addEventListener("wheel", hear, { passive: false });
    return () => target.removeEventListener("wheel", hear);
  }, []);
}

const ordered = (a, b) => ({
  from: Math.min(a, b),
  to: Math.max(a, b, Math.min(a, b) + SHORTEST_MS),
});
