/** The endpoint with the most batches, where none was picked. */
export const mostUsed = (endpoints) =>
  endpoints.reduce(
    (most, each) => (most === null || each.batches > most.batches ? each : most),
    null,
  )?.endpoint ?? "";
