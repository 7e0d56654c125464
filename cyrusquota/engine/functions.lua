#!lua name=cyrusquota_1
-- Functions by which cyrusquota publishes stores and mirrors them, for Redis from 7.0 on and Valkey.
-- An administrator loads them:
--     cyrusquota engine functions | redis-cli -x FUNCTION LOAD REPLACE
-- The number in all names is that of the format of a store. cyrusquota/engine/protocol.py says what
-- the keys hold. A function that writes gives back whether it did, and what the store says of
-- itself now. Each checks everything before it writes anything.

local REVISION = '1'
local FORMAT = '1'
-- As in protocol.py.
local MAX_KEY, MAX_VALUE = 1024, 32
local MAX_CHANGE, HISTORY = 65536, 240
-- Of a field of `m`; fields in one command; bytes of changes in one answer; entries in one page.
local MAX_FIELD, CHUNK, MAX_ANSWER, PAGE = 100, 2000, 1048576, 2000

-- The answer to a command, or nil where a key is of another kind, or the id of a change is not new.
-- Every other error ends the function.
local function sound(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if string.find(answer.err, 'WRONGTYPE', 1, true) then return nil end
  if string.find(answer.err, 'equal or smaller', 1, true) then return nil end
  return redis.call(...)
end

local function number(text)
  if text and #text <= 15 and string.find(text, '^%d+$') then return tonumber(text) end
  return nil
end

local function text(value)
  return string.format('%.0f', value)
end

-- What a store says of itself, with gen and seq as numbers: 0 and 0 where there is no store, or it
-- is damaged; nil for another format, which nobody here may touch.
local function status(m)
  local found = sound('HMGET', m, 'format', 'gen', 'seq', 'n', 'digest', 'holder', 'accept')
  if not found then return 'damaged', 0, 0 end
  local is_there = false
  for i = 1, 7 do
    if found[i] then
      is_there = true
      if #found[i] > MAX_FIELD then return 'damaged', 0, 0 end
    end
  end
  if not is_there then return '', 0, 0 end
  local format = found[1] or '-'
  if format ~= FORMAT and number(format) then return format, nil, nil end
  local gen, seq = number(found[2]), number(found[3])
  local line = format
  for i = 2, 7 do line = line .. ' ' .. (found[i] or '-') end
  if format ~= FORMAT or not gen or not seq then return 'damaged ' .. line, 0, 0 end
  return line, gen, seq
end

local function answer(is_done, m)
  return {is_done and 'ok' or 'no', (status(m))}
end

-- Entries as fields and values in turn, and keys to drop, from lines.
local function rows(lines)
  local put, drop = {}, {}
  for row in string.gmatch(lines, '([^\n]+)\n') do
    local tab = string.find(row, '\t', 1, true)
    if tab then
      put[#put + 1] = string.sub(row, 1, tab - 1)
      put[#put + 1] = string.sub(row, tab + 1)
    else
      drop[#drop + 1] = row
    end
  end
  return put, drop
end

local function in_chunks(command, key, words)
  for first = 1, #words, CHUNK do
    redis.call(command, key, unpack(words, first, math.min(first + CHUNK - 1, #words)))
  end
end

-- Whether the caller may do all that a publisher does. What a script has written before it is
-- stopped stays, so a publisher with too few rights must not begin.
local function may_publish(m, e, s)
  return redis.acl_check_cmd('UNLINK', m, e, s) and redis.acl_check_cmd('HSET', m, 'x', 'x')
    and redis.acl_check_cmd('HSET', e, 'x', 'x') and redis.acl_check_cmd('HDEL', e, 'x')
    and redis.acl_check_cmd('HLEN', e) and redis.acl_check_cmd('HEXISTS', e, 'x')
    and redis.acl_check_cmd('XADD', s, 'MAXLEN', '=', HISTORY, '1-1', 'x', 'x')
end

-- KEYS m e s; ARGV gen seq floor holder n digest lines
local function begin(keys, args)
  if not may_publish(keys[1], keys[2], keys[3]) then
    return redis.error_reply('NOPERM the user lacks rights that a publisher needs')
  end
  local line, gen, seq = status(keys[1])
  if not gen or gen ~= tonumber(args[1]) or seq ~= tonumber(args[2]) then
    return {'no', line}
  end
  local put, drop = rows(args[7])
  if #put / 2 ~= tonumber(args[5]) or #drop > 0 then
    return redis.error_reply('ERR cyrusquota: the snapshot has not as many entries as it says')
  end
  redis.call('UNLINK', keys[1], keys[2], keys[3])
  in_chunks('HSET', keys[2], put)
  redis.call('HSET', keys[1], 'format', FORMAT,
    'gen', text(math.max(gen, tonumber(args[3])) + 1), 'seq', text(seq + 1),
    'n', args[5], 'digest', args[6], 'holder', args[4])
  return answer(true, keys[1])
end

-- KEYS m e s; ARGV gen seq n digest lines
local function write(keys, args)
  if not may_publish(keys[1], keys[2], keys[3]) then
    return redis.error_reply('NOPERM the user lacks rights that a publisher needs')
  end
  local line, gen, seq = status(keys[1])
  if not gen or gen == 0 or gen ~= tonumber(args[1]) or seq ~= tonumber(args[2]) then
    return {'no', line}
  end
  local put, drop = rows(args[5])
  local n = sound('HLEN', keys[2])
  if not n then return {'no', line} end
  for i = 1, #put, 2 do n = n + 1 - redis.call('HEXISTS', keys[2], put[i]) end
  for i = 1, #drop do n = n - redis.call('HEXISTS', keys[2], drop[i]) end
  if n ~= tonumber(args[3]) then return {'no', line} end
  local kind, lines = 'c', args[5]
  if #lines > MAX_CHANGE then kind, lines = 'r', '' end
  local id = text(gen) .. '-' .. text(seq + 1)
  if not sound('XADD', keys[3], 'MAXLEN', '=', HISTORY, id, kind, lines) then return {'no', line} end
  in_chunks('HSET', keys[2], put)
  in_chunks('HDEL', keys[2], drop)
  redis.call('HSET', keys[1], 'seq', text(seq + 1), 'n', args[3], 'digest', args[4])
  if #args[5] > 0 then redis.call('HDEL', keys[1], 'accept') end
  return answer(true, keys[1])
end

-- The changes after `have_seq` up to `seq`, or nil where they are not all there.
local function changes(s, gen, have_seq, seq)
  if seq - have_seq > HISTORY then return nil end
  local first, last = text(gen) .. '-' .. text(have_seq + 1), text(gen) .. '-' .. text(seq)
  local found = sound('XRANGE', s, first, last, 'COUNT', HISTORY + 1)
  if not found or #found ~= seq - have_seq then return nil end
  local lines, size = {}, 0
  for i = 1, #found do
    local fields = found[i][2]
    if found[i][1] ~= text(gen) .. '-' .. text(have_seq + i) or fields[1] ~= 'c' then return nil end
    size = size + #fields[2]
    if size > MAX_ANSWER then return nil end
    lines[i] = fields[2]
  end
  return lines
end

-- KEYS m s of each store; ARGV gen seq that are had of each. For each store: its status, whether
-- there are changes ('+', followed by them) or it has to be read ('-').
local function poll(keys, args)
  local answers = {}
  for i = 1, #keys, 2 do
    local line, gen, seq = status(keys[i])
    local have_gen, have_seq = tonumber(args[i]), tonumber(args[i + 1])
    local found = nil
    if gen and gen > 0 and gen == have_gen and have_seq <= seq then
      found = have_seq == seq and {} or changes(keys[i + 1], gen, have_seq, seq)
    end
    local one = {line, found and '+' or '-'}
    for j = 1, #(found or {}) do one[j + 2] = found[j] end
    answers[#answers + 1] = one
  end
  return answers
end

-- KEYS m e; ARGV cursor. The status, the next cursor, and a page of entries as lines; without the
-- page where an entry is too long.
local function read(keys, args)
  local line = status(keys[1])
  local page = sound('HSCAN', keys[2], args[1], 'COUNT', PAGE)
  if not page then return {line} end
  local lines = {}
  for i = 1, #page[2], 2 do
    local key, value = page[2][i], page[2][i + 1]
    if #key > MAX_KEY or #value > MAX_VALUE then return {line} end
    lines[#lines + 1] = key .. '\t' .. value .. '\n'
  end
  return {line, page[1], table.concat(lines)}
end

-- KEYS m; ARGV how many changes an administrator accepts
local function accept(keys, args)
  local line, gen = status(keys[1])
  if not gen or gen == 0 then return {'no', line} end
  redis.call('HSET', keys[1], 'accept', args[1])
  return answer(true, keys[1])
end

-- KEYS m e s; ARGV gen seq
local function forget(keys, args)
  local line, gen, seq = status(keys[1])
  if not gen or line == '' or gen ~= tonumber(args[1]) or seq ~= tonumber(args[2]) then
    return {'no', line}
  end
  redis.call('UNLINK', keys[1], keys[2], keys[3])
  return answer(true, keys[1])
end

redis.register_function('cq1_begin', begin)
redis.register_function('cq1_write', write)
redis.register_function('cq1_accept', accept)
redis.register_function('cq1_forget', forget)
redis.register_function{function_name = 'cq1_poll', callback = poll, flags = {'no-writes'}}
redis.register_function{function_name = 'cq1_read', callback = read, flags = {'no-writes'}}
redis.register_function{
  function_name = 'cq1_revision',
  callback = function() return REVISION end,
  flags = {'no-writes'},
}
