-- load.lua with rests: the second argument is how many milliseconds a connection rests between requests, on average.
dofile(debug.getinfo(1, "S").source:match("@(.*/)") .. "load.lua")

local rest, start = 0, init

function init(args)
  start(args)
  rest = tonumber(args[2])
  math.randomseed(os.time())
end

function delay()
  return math.floor(math.random() * 2 * rest + 0.5)
end
