package shared

// A bucket is the text "<free> <promised> <trusted> <cause> <failed> <epoch> <last>", the
// first three in microseconds of the clock of Redis: when the next turn is free, the latest
// time for which a turn was promised, and until when a single failure after a recovery stops the fleet for a moment only; then why the fleet is stopped
// (0 if it is not), how many failures in a row were told, how often it was stopped, and the
// number of the replica that told last of a failure.
const bucketFunctions = `
local function time()
  local t = redis.pcall('TIME')
  if not t[1] then return 0 end
  return t[1] * 1000000 + t[2]
end

-- Reads the buckets in KEYS from first on, one for each key of the ring, as one: of each
-- number the largest counts. free is not before now; told is what the buckets say.
local function read(first, now, booked)
  local b = {free = now, told = 0, promised = now, trusted = 0, cause = 0, failed = 0, epoch = 0, last = 0}
  for i = first, #KEYS do
    local text = redis.pcall('GETRANGE', KEYS[i], 0, 80)
    if type(text) == 'string' then
      local f, p, t, c, n, e, l = string.match(text, '^(%d+) (%d+) (%d+) ([0-3]) (%d) (%d) (%d+)$')
      f, p, t, c, n, e, l = tonumber(f), tonumber(p), tonumber(t), tonumber(c), tonumber(n), tonumber(e), tonumber(l)
      if f and math.max(f, p, t) <= now + booked then
        b = {free = math.max(b.free, f), told = math.max(b.told, f), promised = math.max(b.promised, p),
          trusted = math.max(b.trusted, t), cause = math.max(b.cause, c), failed = math.max(b.failed, n),
          epoch = math.max(b.epoch, e), last = math.max(b.last, l)}
      end
    end
  end
  return b
end

-- Writes the bucket of the key that seals. In the midst of a rotation other replicas, with
-- which another key seals, read it too: they have both keys.
local function write(first, b, booked)
  local text = string.format('%.0f %.0f %.0f %d %d %d %.0f', b.free, b.promised, b.trusted, b.cause, b.failed,
    b.epoch, b.last)
  redis.call('SET', KEYS[first], text, 'PX', string.format('%.0f', booked / 1000))
end

-- Takes a turn. The buckets stand in KEYS from first on, and the promise of the key just
-- before them; the arguments stand in ARGV, after as many of another script as before says.
-- It returns 1 if there is a turn, 0 if there is none, and -1 without a clock; then how long
-- until the turn, or until the key may ask again; and then why the fleet is stopped, 4 more
-- if failures were told, and 8 more for each time that it was stopped. A request that is
-- promised a turn is told to come a little early, since Retry-After has whole seconds.
local function take(first, before, now)
  if now == 0 then return -1, 0, 0 end
  local a = {}
  for i = before + 1, #ARGV do a[i - before] = tonumber(ARGV[i]) end
  local interval, wait, longest, promise, most, booked, probe, kept, replica = unpack(a)
  local b = read(first, now, booked)
  local promised = tonumber(redis.pcall('GET', KEYS[first - 1]) or nil)
  if promised and promised > now + booked then promised = nil end
  if b.cause > 0 then
    interval, wait, promise = math.max(interval, probe), 0, 0
  elseif promised then
    if promised - now > wait then return 0, math.min(promised - now - wait / 2, most), 0 end
    wait = longest
  end
  local ahead = b.free - now
  -- The replica that told of a failure last lets others go before, for half a probe.
  if b.cause > 0 and b.last == replica then ahead = math.max(ahead, b.told + probe / 2 - now) end
  if ahead <= wait then
    b.free = b.free + interval
    write(first, b, booked)
    if promised then redis.call('DEL', KEYS[first - 1]) end
    return 1, ahead, b.cause + (b.failed > 0 and 4 or 0) + 8 * b.epoch
  end
  if promise == 0 or promised then return 0, math.min(ahead - wait, most), b.cause end
  local at = math.max(b.free, b.promised) + interval * 1.05
  if at > now + most then return 0, most, 0 end
  b.promised = at
  write(first, b, booked)
  redis.call('SET', KEYS[first - 1], string.format('%.0f', at), 'PX', string.format('%.0f', (at - now + kept) / 1000))
  return 0, at - now - wait / 2, 0
end
`

var (
	takeScript = newScript(bucketFunctions + `
return {take(2, 0, time())}`)

	// failureScript notes a failure. The ARGV[4]th in a row, or one 429, has the fleet make no
	// token request for ARGV[1] microseconds. One that is stopped already stays so for the
	// longer time; else the turns that have not come yet are void, and free again.
	failureScript = newScript(bucketFunctions + `
local now, wait, cause, booked = time(), tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if now == 0 then return 0 end
local b = read(1, now, booked)
b.failed, b.last = math.min(b.failed + 1, 9), tonumber(ARGV[6])
if b.failed == 1 and now < b.trusted then wait = math.min(wait, tonumber(ARGV[5])) end
if cause == 2 or b.failed >= tonumber(ARGV[4]) then
  if b.cause == 0 then b.free, b.epoch = now + wait, (b.epoch + 1) % 10 end
  b.free, b.cause = math.max(b.free, now + wait), math.max(b.cause, cause)
end
write(1, b, booked)
return 1`)

	// recoveryScript ends a stop, and the failures in a row, in the buckets of all keys of the
	// ring: in the midst of a rotation a stop in any of them counts.
	recoveryScript = newScript(bucketFunctions + `
local now, resumed, booked = time(), tonumber(ARGV[1]), tonumber(ARGV[2])
if now == 0 then return 0 end
local b = read(1, now, booked)
if b.cause == 0 and b.failed == 0 then return 0 end
if b.cause > 0 then b.trusted = now + resumed end
b.cause, b.failed = 0, 0
for i = 1, #KEYS do write(i, b, booked) end
return 1`)

	// standsScript tells why the fleet is stopped, how long until the next turn, in
	// microseconds, and how often it was stopped.
	standsScript = newScript(bucketFunctions + `
local now = time()
if now == 0 then return {0, 0, -1} end
local b = read(1, now, tonumber(ARGV[1]))
return {b.cause, b.free - now, b.epoch}`)
)
