/** Weight of the newest step in the averages. */
const NEW = 0.1;

/** Running averages for progress bars. */
export class Throughput {
  private tokens = 0;
  private seconds = 0;
  private weight = 0;

  add(tokens: number, seconds: number): { tokensPerSecond: number; secondsPerStep: number } {
    this.tokens += NEW * (tokens - this.tokens);
    this.seconds += NEW * (seconds - this.seconds);
    this.weight += NEW * (1 - this.weight);
    return { tokensPerSecond: this.tokens / this.seconds, secondsPerStep: this.seconds / this.weight };
  }
}
