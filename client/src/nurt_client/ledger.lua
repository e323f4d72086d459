-- The ledger of reservations: the only writer of its keys. Called as: KEYS[1] place, ARGV[1] what, ARGV[2] now in ms
-- (empty: the server's clock), then what the call needs. Quantities are ten-thousandths. Keys, in the place:
--   l<order token>  hash: `L<line>\31<sku id>` quantity, `B<sku id>` what the order's own rows say, route, until, done
--   m<sku id>       string: `route\tquantity\n`...: what reservations hold of the sku
--   x               zset: order token by the moment that it expires
--   o               string: when the worker was last seen; without it, or when long ago, nothing is reserved: then what is
--                   known may be old, and reservations may be lost with a server that came back older
--   q, j, f         read only: promises, who bears a token, the plan (see model/keys.py)
--   u               zset that the worker looks at: skus to be weighed and published again
local place, what = KEYS[1], ARGV[1]
local realm = string.match(place, '{r:(.*)}')
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local function whole(number) return string.format('%.0f', number) end

local function read_held(id)
  local held = {}
  for route, quantity in string.gmatch(redis.call('GET', place .. 'm' .. id) or '', '([^\t]*)\t(%d+)\n') do
    held[route] = tonumber(quantity)
  end
  return held
end

local function write_held(id, held)
  local names = {}
  for route, quantity in pairs(held) do if quantity > 0 then names[#names + 1] = route end end
  table.sort(names)
  if #names == 0 then
    redis.call('DEL', place .. 'm' .. id)
  else
    for at, route in ipairs(names) do names[at] = route .. '\t' .. whole(held[route]) .. '\n' end
    redis.call('SET', place .. 'm' .. id, table.concat(names))
  end
  redis.call('ZADD', place .. 'u', 0, 'S' .. id .. realm)
end

local function read_order(token)
  local flat, order = redis.call('HGETALL', place .. 'l' .. token), nil
  for at = 1, #flat, 2 do
    order = order or {lines = {}, booked = {}}
    local name, value = flat[at], flat[at + 1]
    local kind = string.sub(name, 1, 1)
    if kind == 'L' then order.lines[string.sub(name, 2)] = tonumber(value)
    elseif kind == 'B' then order.booked[string.sub(name, 2)] = tonumber(value)
    else order[name] = value end
  end
  return order
end

-- what an order holds of each sku: a piece counts once, as a reservation or as the order's own row
local function holds(order)
  local sums = {}
  if not order or order.done then return sums end
  for name, quantity in pairs(order.lines) do
    local id = string.sub(name, -16)
    sums[id] = (sums[id] or 0) + quantity
  end
  for id, quantity in pairs(sums) do sums[id] = math.max(0, quantity - (order.booked[id] or 0)) end
  return sums
end

local function shift(route, before, after)
  local ids = {}
  for id in pairs(before) do ids[id] = true end
  for id in pairs(after) do ids[id] = true end
  for id in pairs(ids) do
    local change = (after[id] or 0) - (before[id] or 0)
    if change ~= 0 then
      local held = read_held(id)
      held[route] = math.max(0, (held[route] or 0) + change)
      write_held(id, held)
    end
  end
end

local function forget(token)
  local order = read_order(token)
  if order then shift(order.route, holds(order), {}) end
  redis.call('DEL', place .. 'l' .. token)
  redis.call('ZREM', place .. 'x', token)
end

local function sweep(most)
  local due = redis.call('ZRANGEBYSCORE', place .. 'x', '-inf', now, 'LIMIT', 0, most)
  for _, token in ipairs(due) do forget(token) end
  return #due
end

local function free(plan, route, id)
  local promise = redis.call('GET', place .. 'q' .. id)
  if not promise then return 0 end
  local version, texts = string.match(promise, '^([^;]*);([^;]*);')
  if version ~= plan.version then return nil end
  local slack = {}
  for number in string.gmatch(texts, '-?%d+') do slack[#slack + 1] = tonumber(number) end
  for other, quantity in pairs(read_held(id)) do
    for _, union in ipairs(plan.around[other] or plan.around['*/*']) do slack[union + 1] = slack[union + 1] - quantity end
  end
  local least = math.huge
  for _, union in ipairs(plan.around[route]) do least = math.min(least, slack[union + 1]) end
  return math.max(0, least - plan.buffers[route])
end

local function reserve()
  local token, route, ttl = ARGV[3], ARGV[4], tonumber(ARGV[5])
  local seen = tonumber(redis.call('GET', place .. 'o') or '')
  if not seen or now - seen > 60000 then return {'closed'} end
  local plan = cjson.decode(redis.call('GET', place .. 'f'))
  if not plan.around[route] then return {'unknown route'} end
  while sweep(200) == 200 do end
  local order = read_order(token)
  local known = redis.call('GETRANGE', place .. 'j' .. token, 0, 0) == 'B'
  if (order and order.done) or (known and not order) then return {'known'} end
  order = order or {lines = {}, booked = {}, route = route}
  if order.route ~= route then return {'differs'} end
  local before, new = holds(order), {}
  for at = 6, #ARGV, 3 do
    local name, quantity = ARGV[at] .. '\31' .. ARGV[at + 1], tonumber(ARGV[at + 2])
    if order.lines[name] and order.lines[name] ~= quantity then return {'differs'} end
    if not order.lines[name] then
      order.lines[name] = quantity
      new[#new + 1] = 'L' .. name
      new[#new + 1] = whole(quantity)
    end
  end
  local after = holds(order)
  for at = 6, #ARGV, 3 do
    local id = ARGV[at + 1]
    local more = (after[id] or 0) - (before[id] or 0)
    if more > 0 then
      local left = free(plan, route, id)
      if not left then return {'stale'} end
      if left < more then return {'refused', id, whole(left)} end
    end
  end
  local till = math.max(now + ttl, tonumber(order['until'] or 0))
  redis.call('HSET', place .. 'l' .. token, 'route', route, 'until', whole(till), unpack(new))
  redis.call('ZADD', place .. 'x', till, token)
  shift(route, before, after)
  return {'accepted', whole(till)}
end

local function book()
  local at = 3
  while at <= #ARGV do
    local token, done, skus = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    at = at + 3
    local order = read_order(token)
    if order then
      local before, was, key = holds(order), order.booked, place .. 'l' .. token
      order.booked = {}
      for n = at, at + 2 * skus - 1, 2 do order.booked[ARGV[n]] = tonumber(ARGV[n + 1]) end
      -- of every sku, reserved or not: a line that is reserved later is not held again
      for id in pairs(was) do if not order.booked[id] then redis.call('HDEL', key, 'B' .. id) end end
      for id, quantity in pairs(order.booked) do redis.call('HSET', key, 'B' .. id, whole(quantity)) end
      order.done = done == '1' or nil
      if order.done then redis.call('HSET', key, 'done', '1') else redis.call('HDEL', key, 'done') end
      shift(order.route, before, holds(order))
    end
    at = at + 2 * skus
  end
  return {'booked'}
end

if what == 'reserve' then return reserve()
elseif what == 'book' then return book()
elseif what == 'release' then
  local there = redis.call('EXISTS', place .. 'l' .. ARGV[3])
  forget(ARGV[3])
  return {there == 1 and 'released' or 'nothing'}
elseif what == 'open' then
  redis.call('SET', place .. 'o', whole(now))
  return {'open'}
elseif what == 'sweep' then
  if redis.call('EXISTS', place .. 'o') == 1 then redis.call('SET', place .. 'o', whole(now)) end
  return {whole(sweep(1000))}
elseif what == 'free' then
  local plan = cjson.decode(redis.call('GET', place .. 'f'))
  local left = {}
  while sweep(200) == 200 do end
  for at = 4, #ARGV do left[#left + 1] = whole(free(plan, ARGV[3], ARGV[at]) or -1) end
  return left
end
return redis.error_reply('ledger: no such call')
