-- load.lua with pauses: the second argument is the average time between a connection's requests (ms).
dofile(debug.getinfo(1, "S").source:match("@(.*/)") .. "load.lua")

local pause, start = 0, init

function init(args)
  start(args)
  pause = tonumber(args[2])
  math.randomseed(os.time())
end

function delay()
  return math.floor(math.random() * 2 * pause + 0.5)
end
