/** What the parts of the panel have in common: signals and answers as React's state. */

import type { ISignal } from '@lumino/signaling';
import { useEffect, useReducer, useState } from 'react';

/** Draw anew whenever a signal is emitted. */
export function useSignal(signal: ISignal<unknown, unknown> | null): void {
  const [, draw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    signal?.connect(draw);
    return () => void signal?.disconnect(draw);
  }, [signal]);
}

/**
 * Give what is asked for a text that is being typed, once it rests for a moment.
 *
 * @param ask - must not change from one call to the next
 * @returns null until there is an answer, for an empty text, and where nobody answers
 */
export function useAnswer<T>(text: string, ask: (text: string) => Promise<T>): T | null {
  const [answer, setAnswer] = useState<T | null>(null);
  useEffect(() => {
    let isLatest = true;
    setAnswer(null);
    const timer = window.setTimeout(() => {
      if (text.trim()) {
        ask(text.trim()).then(
          found => isLatest && setAnswer(() => found),
          () => undefined // a server without us: nothing is offered, and nothing is refused
        );
      }
    }, 200);
    return () => {
      isLatest = false;
      window.clearTimeout(timer);
    };
  }, [text, ask]);
  return answer;
}
