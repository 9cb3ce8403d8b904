import type { Example } from '../contracts/data-source.js';
import { keyedRandom } from '../random/keyed-random.js';

/**
 * An endless pass over examples, shuffled anew each time round. What comes at an index depends on seed, purpose and index alone, so a
 * resumed run needs no cursor.
 */
export class DataOrder {
  private epoch = -1;
  private order: readonly number[] = [];

  constructor(
    private readonly examples: readonly Example[],
    private readonly seed: number,
    private readonly purpose: string,
  ) {}

  at(index: number): Example {
    const epoch = Math.floor(index / this.examples.length);
    if (epoch !== this.epoch) {
      this.epoch = epoch;
      this.order = keyedRandom(this.seed, this.purpose, epoch).shuffled(this.examples.map((_, i) => i));
    }
    return this.examples[this.order[index % this.examples.length]!]!;
  }

  slice(begin: number, count: number): Example[] {
    return Array.from({ length: count }, (_, i) => this.at(begin + i));
  }
}
